"""Images a second through a training step (forward, backward, AdamW), ours and others', in turns."""

from absl import flags

from benchmarks import harness

if __name__ == "__main__":
    flags.adopt_module_key_flags(harness)
    harness.main("training")
