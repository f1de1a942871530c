"""The benchmark of casfs against what people use, side by side on one machine: `make bench`, or `python -m scripts.bench --help`.

Method. Contenders take turns, A B B A, so that a machine that gets slower or faster meets all of them alike; a ratio is computed within
each round, and then its median is taken. Programs are started with an environment of which every variable is set here. What is in which
cache is prepared before a figure is taken, and said beside it. Rounds during which others used the processor are counted and marked. All
casfs commands run in their default configuration. There are seven rounds. Where the time that a measure allows does not suffice for that,
the dearest contenders sit out some of them: they have at least three, or one if that alone takes a third of the time. The tables say how
many each one had. What is the same each time is counted once, and so is most of TensorFlow.

A measure is a module of `measures` with a function `measure(bench)` that yields figures.
"""
