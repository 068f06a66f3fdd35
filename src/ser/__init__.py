"""Speech emotion recognition for competitions: folds, fine-tuning, blending, submissions."""

import re
import sys

__version__ = "0.1.0"

# While `python -m ser.COMMAND` begins, and at no other time: somebody's own command that imports this is left as it is.
if sys.argv[:1] == ["-m"] and re.search(r" -\w*m ?ser\.", " ".join(sys.orig_argv)):
    from ser.runtime.startup import end_quietly_while_importing, let_waiting_threads_sleep, look_for_garbage_seldom

    end_quietly_while_importing()
    let_waiting_threads_sleep()
    look_for_garbage_seldom()
