"""Language-model members: from battles to token ids, trained weights and log-probabilities."""

import logging

# peft imports bitsandbytes where it is installed, which warns, in every process that has no GPU, of a kernel
# that it could fetch
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
