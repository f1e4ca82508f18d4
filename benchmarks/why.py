"""Why a row missed its target, by the row's name. This is written by hand, and shown where a target is missed."""

WHY = {
    "idle": (
        "Snakemake itself takes 1.4 ms for each of the 3,000 jobs, a third of it for lines of log that --quiet then "
        "drops; resources that do not grow with the attempt would save 4 %, leaving out conda, benchmark or log nothing"
    ),
    "federated": (
        "Flower starts no server and no sites, ends no job, and has no mutual TLS: a federated job takes 10 to 11 s "
        "beyond its rounds here, 5 of them until all sites have registered, some 3 until NVFlare has started the job "
        "and ended it; the range is the machine's noise"
    ),
    "round": (
        "the numbers are from before arrays travelled as plain bytes; then, of a round's 8.2 CPU s, 1.9 were the "
        "server's parent process, through which all 620 MB pass, encrypted on one side, 1.9 its process of the job, "
        "and 1.5 each site. What was changed since, what it gave, and what else was tried is told below, under A large "
        "model's round; the parent process is what is left"
    ),
    "resample": (
        "decoding alone is no more than 2.7 times as fast as the demo's path, so 2.5 leaves 0.2 ms an image for "
        "resizing, and 0.9 of the decoder's rate 0.3: of 3.4 ms decoding takes 2.5, nearly all of it Huffman's code, "
        "and resizing by Pillow 0.9. OpenCV and simplejpeg decode in 2.4 to 2.5 ms (the same libjpeg-turbo), libvips "
        "takes 5.8 in all; OpenCV's mean over areas resizes in 0.6, PyTorch in 0.7. At libjpeg's next smaller scale an "
        "image takes 22 % less, and differs from full decoding by 0.5 greys of 255 in the mean instead of 0.1: not done"
    ),
}
