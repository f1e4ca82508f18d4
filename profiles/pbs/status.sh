#!/bin/sh
# Says running, success or failed of a job of PBS; also of one that PBS has ended, which leaves no other trace.
said=$(qstat -x -f "$1" 2>&1)
case "$said" in
  *"Exit_status = 0"*) echo success ;;
  *Exit_status* | *"job_state = F"* | *"Unknown Job"*) echo failed ;;
  *) echo running ;; # or PBS did not answer, and may the next time
esac
