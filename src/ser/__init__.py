"""Speech emotion recognition for competitions: folds, fine-tuning, blending, submissions."""

import sys

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # so it is called while `python -m ser.COMMAND` begins, and at no other time
    from ser.runtime.startup import end_quietly_while_importing, let_waiting_threads_sleep

    end_quietly_while_importing()
    let_waiting_threads_sleep()
