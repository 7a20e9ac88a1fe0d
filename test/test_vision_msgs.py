# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whichever vision_msgs is on the path, ours or a robot's: it is the type that consumers know."""

import json
import os
from pathlib import Path

import pytest

# as built from vision_msgs 4.1.1
HASHES = {
    'VisionClass': '1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a',
    'LabelInfo': '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'Detection2DArray': '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'Detection2D': '0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea',
    'ObjectHypothesisWithPose': '41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc',
    'ObjectHypothesis': '51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90',
    'BoundingBox2D': '008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f',
    'Pose2D': 'b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648',
    'Detection3DArray': '793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018',
    'Detection3D': 'ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b',
    'BoundingBox3D': 'bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698',
    'Point2D': 'eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247',
}


@pytest.fixture
def definitions():
    """Give the folder of the generated vision_msgs definitions."""
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    for prefix in filter(None, prefixes):
        folder = Path(prefix, 'share/vision_msgs/msg')
        if folder.is_dir():
            return folder
    if not any(Path(prefix, 'share/rclpy').is_dir() for prefix in prefixes):
        pytest.skip('no ROS in this environment')
    return pytest.fail(f'no vision_msgs in {prefixes}')


@pytest.mark.parametrize('name', HASHES)
def test_type_is_the_real_one(definitions, name):
    description = json.loads((definitions / f'{name}.json').read_text())
    hashes = {entry['type_name']: entry['hash_string'] for entry in description['type_hashes']}
    assert hashes[f'vision_msgs/msg/{name}'] == f'RIHS01_{HASHES[name]}'


def test_python_type_carries_the_fields(definitions):
    from vision_msgs.msg import LabelInfo, VisionClass

    message = LabelInfo(class_map=[VisionClass(class_id=65535, class_name='a')], threshold=0.5)
    assert LabelInfo.get_fields_and_field_types() == {
        'header': 'std_msgs/Header',
        'class_map': 'sequence<vision_msgs/VisionClass>',
        'threshold': 'float',
    }
    assert message.class_map[0].class_id == 65535
