"""Why a row missed its target, by the row's name. This is written by hand, and shown where a target is missed."""

WHY = {
    "idle": (
        "Snakemake itself takes 1.4 ms for each of the 3,000 jobs, a third of it for lines of log that --quiet then "
        "drops; resources that do not grow with the attempt would save 4 %, leaving out conda, benchmark or log "
        "nothing. To write a job's command it copies every name that the rules define, three times a job. This "
        "processor is slow at it: on a Xeon the plan took 7.9 s when it took 1.3 times the CPU seconds of now, in turns"
    ),
    "federated": (
        "Flower starts no server and no sites, ends no job, and has no mutual TLS: a federated job takes 8 to 10 s "
        "beyond its rounds here, among them the import of PyTorch (3 CPU s); the range is the machine's noise"
    ),
    "round": (
        "nearly two thirds of a round's CPU seconds are the wire: NVFlare's server process alone takes 3 of 11 to pass "
        "619 MB on. Below, under A large model's round, is where the time goes, what was mended (moments that nothing "
        "used, the exact mean, distances, half precision), and what was tried"
    ),
    "secure": (
        "a value of the demo's model needs 120 bits under masks, so that an answer has 411 MB in place of 103 and a "
        "mask for one partner takes 0.11 s; fewer bits would be another sum. Half precision halves the answer"
    ),
    "epoch": "the bound lies within the range of the turns",
    "resample": (
        "decoding alone is no more than 2.7 to 3.1 times as fast as the demo's path, so 2.5 leaves 0.2 ms an image for "
        "resizing, and 0.9 of the decoder's rate 0.3: of 3.4 ms decoding takes 2.5, nearly all of it Huffman's code, "
        "and resizing by Pillow 0.9. OpenCV and simplejpeg decode in 2.4 to 2.5 ms (the same libjpeg-turbo), libvips "
        "takes 5.8 in all; OpenCV's mean over areas resizes in 0.6, PyTorch in 0.7. At libjpeg's next smaller scale an "
        "image takes 22 % less, and differs from full decoding by 0.5 greys of 255 in the mean instead of 0.1: not done"
    ),
}
