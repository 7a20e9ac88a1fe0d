// Copyright 2026 clip_dinoiser_ros maintainers
// SPDX-License-Identifier: Apache-2.0

// Shows the frames of a stream: image and labels as layers, objects, legend. Vue escapes all texts.
export default {
  template: `
    <div class="viewer">
      <div v-if="layered" class="viewer-tools">
        <div role="radiogroup" aria-label="What is shown">
          <label v-for="[key, text] in modes" :key="key" class="viewer-mode">
            <input type="radio" :name="'mode' + $.uid" :value="key" v-model="mode" />
            <span>{{ text }}</span>
          </label>
        </div>
        <label class="viewer-opacity">
          <span>Opacity of labels</span>
          <input type="range" min="0" max="100" v-model.number="opacity" :disabled="mode !== 'over'"
            aria-label="Opacity of labels, percent" />
        </label>
      </div>
      <div ref="stage" class="viewer-stage" role="img" :aria-label="summary" tabindex="0"
        @pointermove="point" @pointerdown="point" @pointerleave="leave" @keydown="step">
        <canvas ref="image" v-show="mode === 'over' || mode === 'image'"></canvas>
        <canvas ref="labels" v-show="mode === 'over' || mode === 'labels'"
          :style="{opacity: mode === 'over' ? opacity / 100 : 1}"></canvas>
        <canvas ref="confidence" v-show="mode === 'confidence'"></canvas>
        <svg v-if="size" :viewBox="'0 0 ' + size[0] + ' ' + size[1]" aria-hidden="true">
          <rect v-for="(one, index) in objects" :key="index" :x="one.box[0]" :y="one.box[1]"
            :width="one.box[2] - one.box[0]" :height="one.box[3] - one.box[1]" :stroke="one.colour" />
        </svg>
        <span v-for="(one, index) in size ? objects : []" :key="'name' + index" class="viewer-name"
          aria-hidden="true" :style="corner(one)">{{ one.name }} {{ metres(one) }}</span>
        <div v-if="cross" class="viewer-cross" :style="place(cross)"></div>
        <div v-if="cross && answer.length" class="viewer-tip" :class="side" :style="place(cross)">
          <div v-for="one in answer">{{ one.name }} <b>{{ percent(one.probability) }}</b></div>
        </div>
        <p v-if="!size" class="viewer-wait">{{ path ? waiting : 'Nothing to watch.' }}</p>
      </div>
      <p class="viewer-answer" aria-live="polite">{{ spoken }}</p>
      <p v-if="size && small" class="viewer-key">
        <span v-for="row in seen" :key="row.id"><i :style="{background: row.colour}"></i>{{ row.name }}
          {{ percent(row.share) }}</span>
      </p>
      <table v-if="size && !small" class="viewer-legend">
        <caption class="viewer-hidden">Classes in the image</caption>
        <thead><tr>
          <th scope="col">class</th><th scope="col">share</th><th scope="col">confidence</th>
        </tr></thead>
        <tbody>
          <tr v-for="row in legend" :key="row.id" :class="{absent: row.share < 0.0005}">
            <th scope="row"><i :style="{background: row.colour}"></i>{{ row.name }}
              <small v-if="row.background && row.name !== 'background'">background</small></th>
            <td>{{ percent(row.share) }}</td>
            <td>{{ row.confidence === null ? '–' : row.confidence.toFixed(2) }}</td>
          </tr>
          <tr v-if="unlabelled >= 0.0005"><th scope="row"><i class="none"></i>no class</th>
            <td>{{ percent(unlabelled) }}</td><td>–</td></tr>
        </tbody>
      </table>
      <ul v-if="objects.length && !small" class="viewer-objects" aria-label="Objects">
        <li v-for="(one, index) in objects" :key="index"><i :style="{background: one.colour}"></i>
          {{ one.name }} {{ one.confidence.toFixed(2) }} {{ metres(one) }}</li>
      </ul>
      <p v-if="times && !small" class="viewer-times">{{ times }}</p>
    </div>`,
  props: { path: String, layered: Boolean, small: Boolean, answer: { type: Array, default: () => [] } },
  data: () => ({
    mode: 'over',
    modes: [['over', 'Labels over image'], ['image', 'Image'], ['labels', 'Labels'], ['confidence', 'Confidence']],
    opacity: 55,
    size: null,
    legend: [],
    objects: [],
    times: '',
    cross: null,
    waiting: 'Waiting for an image ...',
  }),
  computed: {
    unlabelled() {
      return 1 - this.legend.reduce((sum, row) => sum + row.share, 0);
    },
    seen() {
      return this.legend.filter((row) => row.share >= 0.005);
    },
    summary() {
      return this.seen.length
        ? 'Camera image: ' + this.seen.map((row) => `${row.name} ${this.percent(row.share)}`).join(', ')
        : 'Camera image';
    },
    spoken() {
      return this.cross ? this.answer.map((one) => `${one.name} ${this.percent(one.probability)}`).join(', ') : '';
    },
    side() {
      return { left: this.cross.x > 0.6, above: this.cross.y > 0.6 };
    },
  },
  watch: {
    path() {
      this.size = null;
      this.close();
      this.open();
    },
    mode() {
      this.ask();
    },
  },
  mounted() {
    this.look = () => (document.hidden ? this.close() : this.open());
    document.addEventListener('visibilitychange', this.look);
    this.look();
  },
  unmounted() {
    document.removeEventListener('visibilitychange', this.look);
    this.close();
  },
  methods: {
    open() {
      if (this.socket || !this.path) return;
      const address = new URL(this.path, location.href);
      address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
      const socket = new WebSocket(address);
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => this.ask();
      socket.onmessage = async (event) => {
        try {
          await this.draw(event.data);
        } finally {
          if (this.socket === socket) this.ask();
        }
      };
      socket.onclose = (event) => {
        if (this.socket !== socket) return;
        this.socket = null;
        this.waiting = event.reason ? `Waiting: ${event.reason}` : 'Waiting for the connection ...';
        this.retry = setTimeout(() => document.hidden || this.open(), 1000);
      };
      this.socket = socket;
    },
    close() {
      clearTimeout(this.retry);
      const socket = this.socket;
      this.socket = null;
      if (socket) socket.close();
    },
    ask() {
      const layers = { over: 'image,labels', image: 'image', labels: 'labels', confidence: 'confidence' };
      if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(layers[this.mode]);
    },
    async draw(data) {
      const length = new DataView(data).getUint32(0);
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      let start = 4 + length;
      const layers = await Promise.all(
        Object.entries(header.parts).map(async ([name, bytes]) => {
          const part = new Uint8Array(data, start, bytes);
          start += bytes;
          return [name, await createImageBitmap(new Blob([part]))];
        }),
      );
      for (const [name, bitmap] of layers) {
        const canvas = this.$refs[name];
        if (!canvas) return;
        canvas.width = bitmap.width;
        canvas.height = bitmap.height;
        canvas.getContext('2d').drawImage(bitmap, 0, 0);
        bitmap.close();
      }
      this.size = header.size;
      this.legend = header.legend;
      this.objects = header.objects;
      this.times = Object.entries(header.times_ms).map(([stage, ms]) => `${stage} ${ms.toFixed(0)} ms`).join(' · ');
      this.$refs.stage.style.aspectRatio = `${header.size[0]} / ${header.size[1]}`;
    },
    percent(part) {
      return part > 0 && part < 0.005 ? '<1 %' : `${Math.round(100 * part)} %`;
    },
    metres(one) {
      return one.distance === null ? '' : `${one.distance.toFixed(1)} m`;
    },
    corner(one) {
      return this.place({ x: one.box[0] / this.size[0], y: one.box[1] / this.size[1] });
    },
    place(at) {
      return { left: `${100 * at.x}%`, top: `${100 * at.y}%` };
    },
    point(event) {
      const box = this.$refs.stage.getBoundingClientRect();
      this.aim((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    },
    step(event) {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Enter: [0, 0] };
      if (event.key === 'Escape') return this.leave();
      if (!moves[event.key]) return;
      event.preventDefault();
      const { x, y } = this.cross || { x: 0.5, y: 0.5 };
      this.aim(x + 0.02 * moves[event.key][0], y + 0.02 * moves[event.key][1]);
    },
    aim(x, y) {
      if (!this.size) return;
      this.cross = { x: Math.min(Math.max(x, 0), 1), y: Math.min(Math.max(y, 0), 1) };
      if (this.timer) return; // one question at a time, the last place counts
      this.timer = setTimeout(() => {
        this.timer = null;
        if (this.cross) this.$emit('point', this.cross);
      }, 120);
    },
    leave() {
      this.cross = null;
    },
  },
};
