#!/bin/sh
# Prints running, success or failed for a job of PBS, also for one that PBS itself has ended, which leaves no other
# trace.
said=$(qstat -x -f "$1" 2>&1)
case "$said" in
  *"Exit_status = 0"*) echo success ;;
  *Exit_status* | *"job_state = F"* | *"Unknown Job"*) echo failed ;;
  *) echo running ;; # or PBS did not answer this time
esac
