"""What ``growc search neuroevolution`` prints besides what ``growc train`` does."""

from __future__ import annotations

from typing import Any

from .train_output import Talking


class TalkingOfEvolution(Talking):
    """Prints who was kept and who was born, and at the end who was selected."""

    def evolved(self, event: dict[str, Any]) -> None:
        kept = ", ".join(map(str, event["kept"]))
        self._print(f"{event['update']:>8,}  iteration {event['iteration']}: kept {kept}")
        for b in event["born"]:
            self._print(
                f"{'':>10}{b['parent']} → {b['model']}: {b['pass']}, {b['params']:,} parameters, "
                f"{b['proof']}"
            )

        if event["unfilled"] is not None:
            self._print(
                f"{'':>10}{event['unfilled']['models']} models go on: {event['unfilled']['reason']}"
            )

    def ended(self, result: dict[str, Any]) -> None:
        super().ended(result)
        if self.quiet:
            return
        for one in result["selected"]:
            tested = f", test {one['test_accuracy']:.4f}" if "test_accuracy" in one else ""
            self._say(
                f"selected models/{one['model']:04}.arch: {one['params']:,} parameters, accuracy "
                f"{one['validation_accuracy']:.4f}{tested}"
            )
        if "ensemble" in result:
            one = result["ensemble"]
            tested = f", test {one['test_accuracy']:.4f}" if "test_accuracy" in one else ""
            self._say(
                f"ensemble.arch: {one['params']:,} parameters, accuracy "
                f"{one['validation_accuracy']:.4f}{tested}"
            )
        self._say(f"best.onnx: {result['best_onnx']}")
