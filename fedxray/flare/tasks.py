"""The names by which the two ends of a job understand each other: tasks, messages, and the files that a job leaves."""

# Counts up when these names, what is sent by them, or how arrays travel (`packing.py`) changes so that a server and a
# site of another number no longer understand each other.
PROTOCOL = "1"

# Tasks, which the server's controller sends to the sites' executors.
TRAIN = "train"
KEYS = "keys"  # of a secure aggregation, before the first round: each site signs its public key
# Of one that survives absent sites (`federation/recovery.py`): two steps before a round for which not all sites are
# ready, such as the first one, and two after each `train`, which get ready for the next round as well.
ADVERTISE, SHARE, VOUCH, REVEAL = STEPS = "advertise", "share", "vouch", "reveal"
VALIDATE = "validate"  # NVFlare's cross-site evaluation has this name for it
CARD = "card"
ALONE = "alone"  # the site trains without a federation, and keeps the model
PERSONAL = "personal"  # after the last round: each site makes its own model, and keeps it

# Messages beside the tasks.
ROUNDS = "fedxray.rounds"  # the command by which the workflow asks a running job for the records of its rounds
LIVE = "fedxray.live"  # by which a site tells a running job the metrics of an epoch
ADVERTS = "adverts"  # in a task `train` and the answer to `keys`: the signed keys, {site: fields of `secure.Advert`}
SAID = "said"  # in a task of STEPS and in `train`: what the server passes on; in an answer: what the site says
LAST = "last"  # in a task: {site: the last round, from 1, in which its answer counted}; after that it goes on
GATE = "gate"  # in a task `validate`: the model that this one may replace; in its answer: what the gate needs
WHY = "why"  # the header of a site's answer that says why there is no result

# Files of the server's app.
INITIAL = "initial.safetensors"  # the model to begin with, if one is given
PREDECESSOR = "predecessor.safetensors"  # the model that the evaluated one may replace, if a gate is asked

# Files in the job's folder, which the workflow downloads when the job has ended.
FAILURE = "failure.txt"  # why the job failed
MODEL = "model.safetensors"
RECORDS = "rounds.json"
CARDS = "cards.json"
THRESHOLDS = "thresholds.json"
