"""One file per peer. A class is built from a `Problem` and trains on it: ``run(n)`` trains on the first n digits,
``weights()`` returns W1, b1, W2, b2, ... as float64, weights of shape (inputs, outputs). The files ``mnist_*.py`` are
the contenders of :mod:`benchmarks.time_to_accuracy`.

All classes but scikit-learn's follow the original rule, for 784-200-40-10 and other networks of three layers:

    h1 = s(W1 x + b1)   h2 = s(W2 h1 + b2)   o = s(W3 h2 + b3)      s(z) = 1 / (1 + exp(-z))
    e3 = t - o          g3 = lr e3 o (1 - o)      W3 += g3 h2'   b3 += g3
    e2 = W3' e3         g2 = lr e2 h2 (1 - h2)    W2 += g2 h1'   b2 += g2     (W3 as just updated)
    e1 = W2' e2         g1 = lr e1 h1 (1 - h1)    W1 += g1 x'    b1 += g1     (W2 as just updated)
"""
