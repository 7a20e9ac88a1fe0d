# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the package says about itself agrees with itself, and its set-up says what it lacks."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'clip_dinoiser_ros'

# module -> rosdep key, where they differ
ROSDEP_KEYS = {
    'numpy': 'python3-numpy',
    'cv2': 'python3-opencv',
    'PIL': 'python3-pil',
    'jinja2': 'python3-jinja2',
    'yaml': 'python3-yaml',
}
# module -> what pip calls it; these have no rosdep key and are told to pip only
PIP_NAMES = {
    'torch': 'torch',
    'triton': 'torch',  # its builds for CUDA bring it along; without it another way is taken
    'open_clip': 'open_clip_torch',
    'safetensors': 'safetensors',
    'rosbags': 'rosbags',
    'apsw': 'apsw',
    'mcap': 'mcap',
    'zstandard': 'zstandard',
    'ruamel': 'ruamel.yaml',
    'av': 'av',
    'tqdm': 'tqdm',
    'jinja2': 'jinja2',
    'huggingface_hub': 'huggingface_hub',
    'timm': 'timm',
    'numpy': 'numpy',
    'cv2': 'opencv-python-headless',
    'PIL': 'pillow',
    'onnxruntime': 'onnxruntime',
    'openvino': 'openvino',
    'nncf': 'nncf',
    'ray': 'ray',
    'fsspec': 'fsspec',
    'pycocotools': 'pycocotools',
    'label_studio_sdk': 'label-studio-sdk',
    'rerun': 'rerun-sdk',
    'nicegui': 'nicegui',
    'fastapi': 'nicegui',  # it is made of these
    'starlette': 'nicegui',
    'uvicorn': 'nicegui',
    'yaml': 'pyyaml',
}
# of extras that nothing else needs, with many packages behind them: their tests are skipped
NOT_LOCKED = ('nncf', 'label-studio-sdk', 'ray', 'rerun-sdk')  # fleet and rerun: own locks
# the part that only ROS runs
ROS_ONLY = PACKAGE / 'node'


def package_xml():
    return ElementTree.parse(ROOT / 'package.xml').getroot()


def setup_arguments():
    """Read the arguments of setup() without calling it."""
    for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup':
            return {keyword.arg: keyword.value for keyword in node.keywords}
    raise AssertionError('setup.py calls no setup()')


def pip_requirements():
    """What setup.py asks of pip, the extras included."""
    arguments = setup_arguments()
    stated = ast.literal_eval(arguments['install_requires'])
    for extra in ast.literal_eval(arguments['extras_require']).values():
        stated += extra
    return [Requirement(text) for text in stated]


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split('.')[0]


def foreign_modules(paths):
    own = {*sys.stdlib_module_names, 'clip_dinoiser_ros'}
    return {module for path in paths for module in imported_modules(path)} - own


def test_one_version():
    top = re.search(r'^(\d+\.\d+\.\d+) \(', (ROOT / 'CHANGELOG.rst').read_text(), re.MULTILINE)
    assert top is not None
    version = package_xml().findtext('version')
    assert version == top[1] == ast.literal_eval(setup_arguments()['version'])


def test_package_xml_is_what_colcon_expects():
    package = package_xml()
    assert package.get('format') == '3'
    assert package.findtext('name') == 'clip_dinoiser_ros'
    assert package.findtext('export/build_type') == 'ament_cmake'
    assert package.findtext('member_of_group') == 'rosidl_interface_packages'


def test_every_import_is_a_declared_dependency():
    declared = {element.text for element in package_xml() if element.tag.endswith('depend')}
    used = foreign_modules([*PACKAGE.rglob('*.py'), *ROOT.glob('launch/*.py')])
    keys = {ROSDEP_KEYS.get(m, m) for m in used if m in ROSDEP_KEYS or m not in PIP_NAMES}
    assert keys <= declared, f'not in package.xml: {sorted(keys - declared)}'


def test_pip_dependencies_cover_every_import():
    names = {requirement.name for requirement in pip_requirements()}
    used = foreign_modules(p for p in PACKAGE.rglob('*.py') if ROS_ONLY not in p.parents)
    needed = {PIP_NAMES[module] for module in used if module in PIP_NAMES}
    assert needed <= names, f'not in setup.py: {sorted(needed - names)}'


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """Build the pip package from a copy: setuptools leaves its traces beside the sources."""
    from importlib.metadata import version

    if int(version('setuptools').split('.')[0]) < 71 and find_spec('wheel') is None:
        pytest.skip('this setuptools cannot build a wheel by itself')
    copy = tmp_path_factory.mktemp('source')
    for name in ('setup.py', 'pyproject.toml', 'LICENSE', 'README.md'):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    ignore = shutil.ignore_patterns('__pycache__')
    shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=ignore)
    target = tmp_path_factory.mktemp('wheel')
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', 'wheel', '-q', '--no-index']
    subprocess.run([*pip, '--no-deps', '--no-build-isolation', '-w', target, copy], check=True)
    with zipfile.ZipFile(next(target.glob('*.whl'))) as archive:
        yield archive


def test_pip_package_is_all_but_the_node(wheel):
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob('*.py')
        if ROS_ONLY not in path.parents
    }
    assert {name for name in wheel.namelist() if name.endswith('.py')} == expected


def test_pip_package_has_its_data(wheel):
    data = {
        path.relative_to(ROOT).as_posix()
        for suffix in ('html.j2', 'css', 'js', 'json', 'safetensors', 'yaml', 'msg')
        for path in PACKAGE.rglob(f'*.{suffix}')
    }
    assert data <= set(wheel.namelist())


def test_pip_package_has_the_command(wheel):
    entry_points = next(n for n in wheel.namelist() if n.endswith('entry_points.txt'))
    assert b'clip-dinoiser = clip_dinoiser_ros.cli:main' in wheel.read(entry_points)


def pins(name):
    """The pinned versions of a requirement file, by name as pip compares it; hashes of each."""
    text = (ROOT / 'requirements' / name).read_text().replace('\\\n', ' ')
    for line in text.splitlines():
        if line and not line.startswith('#'):
            requirement, version = re.match(r'([\w.-]+)(?:\[\w+\])?==([\w.]+)', line).groups()
            hashes = re.findall('--hash=sha256:([0-9a-f]{64})', line)
            yield re.sub('[-_.]+', '-', requirement).lower(), version, hashes


@pytest.mark.parametrize('distribution', ['jazzy', 'kilted'])
def test_the_lock_is_that_of_the_lists(distribution):
    locked = list(pins(f'{distribution}.lock.txt'))
    assert all(hashes for _, _, hashes in locked)
    versions = {(name, version) for name, version, _ in locked}
    for name in (f'{distribution}.txt', 'core.txt', 'web.txt', 'dev.txt'):
        wanted = {(requirement, version) for requirement, version, _ in pins(name)}
        assert wanted <= versions, 'run `make lock` and commit the result'
    assert '://' not in (ROOT / f'requirements/{distribution}.lock.txt').read_text()


@pytest.mark.parametrize('distribution', ['jazzy', 'kilted'])
def test_the_lock_holds_what_the_package_asks_for(distribution):
    locked = [(name, version) for name, version, _ in pins(f'{distribution}.lock.txt')]
    for requirement in pip_requirements():
        if requirement.name in NOT_LOCKED:
            continue
        wanted = re.sub('[-_.]+', '-', requirement.name).lower()
        versions = [version for name, version in locked if name == wanted]
        assert versions, f'{requirement} is not in {distribution}.lock.txt'
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def path_without(tmp_path, *absent):
    """Make a folder of links to everything on the PATH but `absent`."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for path in os.environ['PATH'].split(os.pathsep):
        for program in Path(path).glob('*') if Path(path).is_dir() else ():
            link = folder / program.name
            if program.name not in absent and not link.is_symlink():
                link.symlink_to(program)
    return folder


def run_setup(**environment):
    return subprocess.run(
        ['bash', ROOT / 'scripts/setup.sh'],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(output):
    """What the set-up itself said; bash complains of a locale that is not installed."""
    return [line for line in output.splitlines() if line.startswith('setup: ')]


def test_setup_names_the_packages_of_missing_tools(tmp_path):
    ended = run_setup(PATH=str(path_without(tmp_path, 'g++', 'cmake')))
    assert ended.returncode == 1
    assert said(ended.stderr) == [
        'setup: missing: sudo apt install g++',
        'setup: missing: sudo apt install cmake',
    ]


def test_setup_names_the_package_of_a_missing_venv(tmp_path):
    folder = path_without(tmp_path, 'python3')
    (tmp_path / 'ensurepip.py').write_text('raise ImportError')
    python3 = folder / 'python3'
    python3.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python3.chmod(0o755)
    ended = run_setup(PATH=str(folder))
    assert ended.returncode == 1
    assert said(ended.stderr) == ['setup: missing: sudo apt install python3-venv']


def test_second_setup_does_nothing_twice():
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    used = [Path(p) for p in prefixes if ROOT / 'install' in Path(p).parents]
    if not used or not Path(os.environ.get('VIRTUAL_ENV', '/nowhere'), '.clip_dinoiser').exists():
        pytest.skip('not the environment that `make setup` made for this checkout')
    ended = run_setup(ROS=used[0].parent.name, CLIP_DINOISER_VENV=os.environ['VIRTUAL_ENV'])
    assert ended.returncode == 0, ended.stderr
    lines = said(ended.stdout)
    assert [line.endswith(', up to date') for line in lines] == [False, True, True, False]


def test_the_command_can_be_imported_by_the_processes_that_it_starts():
    """`spawn` imports the program again under another name; a second command must not begin."""
    script = str(ROOT / 'scripts/clip-dinoiser')
    assert 'main' in runpy.run_path(script, run_name='__mp_main__')
