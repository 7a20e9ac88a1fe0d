"""The paper's training: the two heads learn from teachers, on pictures without labels."""

from clip_dinoiser_ros.training.recipe import Recipe
from clip_dinoiser_ros.training.trainer import Running, train

__all__ = ['Recipe', 'Running', 'train']
