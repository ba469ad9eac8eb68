"""Intra-layer neural architecture search (ILNAS)."""

from .algorithm import Ilnas
from .template import Task, baseline, joint_baseline, start_for

__all__ = ["Ilnas", "Task", "baseline", "joint_baseline", "start_for"]
