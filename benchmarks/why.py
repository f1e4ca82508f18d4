"""Why a row missed its target, in words, by the row's name: written by hand, and shown where a target is missed."""

WHY = {
    "federated": (
        "a job costs 25 to 29 s beyond training here: server and sites start (4 s), then a process of the job for each "
        "of the four, of which every one imports PyTorch (2 to 3.5 CPU s each, on two cores), and at the end NVFlare "
        "waits 3 s and polls for 1 s; the rest is not yet known. Each of the four holds 420 to 515 MB, mostly PyTorch; "
        "Flower holds as many workers as cores"
    ),
    "round": (
        "with the demo's 103 MB the server's parent process takes 2 CPU s a round, probably because all 620 MB pass "
        "through it; packing a model as one string of bytes gained 7 to 12 % of CPU, and was left out"
    ),
    "resample": (
        "decoding is 2.5 of the 3.65 ms that an image takes and resizing 0.9; the demo's path has the same decoder; "
        "why two cores give 1.85 and not 1.9 is not yet known"
    ),
}
