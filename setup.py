# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

# `pip install .` gives what works without ROS: everything but the node. The ROS package, node and
# messages included, is built by colcon from CMakeLists.txt; do not put both on one path.
setup(
    name='clip_dinoiser_ros',
    version='0.1.0',
    description='Segments camera images by text prompts, with CLIP-DINOiser: the part without ROS',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(
        include=['clip_dinoiser_ros', 'clip_dinoiser_ros.*'],
        exclude=['clip_dinoiser_ros.node', 'clip_dinoiser_ros.node.*'],
    ),
    package_data={
        'clip_dinoiser_ros': [
            '**/*.html.j2',
            '**/*.css',
            '**/*.js',
            '**/*.json',
            '**/*.safetensors',
            '**/*.yaml',
            '**/*.md',
            '**/*.msg',
            'py.typed',
        ],
    },
    install_requires=[
        'torch>=2.10',  # before it torch.load runs code from a file, CVE-2026-24747
        'open_clip_torch>=2.26',
        'timm',  # the teachers of the training; OpenCLIP needs it too
        'numpy',
        'opencv-python-headless',
        'huggingface_hub',  # OpenCLIP brings it along
        'safetensors',
        'tqdm',
        'jinja2',  # torch brings it along
        'pillow',  # and torchvision brings this
    ],
    extras_require={
        'bags': ['rosbags', 'apsw', 'mcap', 'zstandard', 'ruamel.yaml', 'av'],
        'openvino': ['openvino'],  # an engine for CPUs and Intel's GPUs and NPUs
        'quantize': ['openvino', 'nncf'],  # the image tower in 8-bit integers
        'fleet': ['ray', 'fsspec'],  # `clip-dinoiser fleet`; s3fs or gcsfs for s3:// and gs://
        'web': ['nicegui>=3.18', 'pyyaml'],  # `clip-dinoiser web`; FastAPI comes along
        'coco': ['pycocotools'],  # masks of `export-labels --format coco`
        'label-studio': ['label-studio-sdk'],  # masks of `export-labels --format label-studio`
        'rerun': ['rerun-sdk>=0.41,<0.42'],  # `bag --rerun`; its API changes between releases
        'onnx': ['onnx', 'onnxscript', 'onnxruntime'],  # to write a file and to check it
    },
    entry_points={'console_scripts': ['clip-dinoiser = clip_dinoiser_ros.cli:main']},
)
