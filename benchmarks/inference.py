"""Images a second in inference, ours and others', in turns."""

from absl import flags

from benchmarks import harness

if __name__ == "__main__":
    flags.adopt_module_key_flags(harness)
    harness.main("inference")
