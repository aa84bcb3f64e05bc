import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from pathlib import Path
from fmnist_ray.search.tensorboard import _writer_class
writer = _writer_class()(sys.argv[1])
writer.add_scalar("validation_accuracy", 0.5, 1)
writer.add_hparams({"batch_size": 64}, {"final/validation_accuracy": 0.5}, name="configuration")
writer.close()
assert "torch" not in sys.modules
import torch
print(torch.ones(2).sum().item())
"""


def test_the_writer_does_without_torch_and_leaves_it_importable(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path / "logs")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2.0"]
    assert list((tmp_path / "logs").glob("events*"))
