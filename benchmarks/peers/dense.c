/* Dense per-sample SGD by the original rule, as fast as dense C gets: one pass over the first layer a sample.

   The update of sample t and the forward pass of sample t + 1 touch the same weights, so each row is loaded once,
   corrected, stored, and multiplied into the next sums: 157,000 weights read and written a sample, and no less is
   possible without leaving work out. Weights are input-major, rows padded with zeros to whole vectors, so that the
   gradient step and the next sums of a block of hidden units stay in registers for the whole pass and a row costs
   one load, two multiply-adds and one store a vector.

   Compiled on the spot with these macros: INPUTS, H1, H2, OUTPUTS (layer sizes), REAL (float or double), REAL_BYTES. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#if defined(__SSE__)
#include <immintrin.h>
#endif

/* A vector is one register of the processor: gcc keeps longer ones in memory. MOST: vectors of a block, whose steps
   and sums stay in registers, 13 + 13 of AVX-512's 32 for 200 units; of AVX2's 16 registers, 7 + 7 was fastest. */
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define MOST 13
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define MOST 7
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define MOST 13
#else
#define VECTOR_BYTES 16
#define MOST 7
#endif
#define LANES (VECTOR_BYTES / REAL_BYTES)
typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));

#define VECTORS(n) (((n) + LANES - 1) / LANES)
#define V1 VECTORS(H1)
#define V2 VECTORS(H2)
#define VO VECTORS(OUTPUTS)

/* Blocks of columns, as even as can be: the first FULL ones have BLOCK vectors, the others one less. */
#define BLOCKS ((V1 + MOST - 1) / MOST)
#define BLOCK ((V1 + BLOCKS - 1) / BLOCKS)
#define FULL (V1 - BLOCKS * (BLOCK - 1))

struct network {
    vec w1[INPUTS][V1], b1[V1];
    vec w2[H1][V2], b2[V2];
    vec w3[H2][VO], b3[VO];
};

static inline vec splat(REAL x) { return x - (vec){0}; }

static void squash(REAL *values, const vec *sums, int n)
{
    const REAL *s = (const REAL *)sums;
    for (int i = 0; i < n; i++) values[i] = 1 / (1 + (sizeof(REAL) == 4 ? expf(-s[i]) : exp(-s[i])));
}

/* sums = b + W'x, for a layer small enough to be of no account. */
#define FORWARD(NAME, IN, V)                                                                                   \
    static void NAME(vec *sums, const vec w[IN][V], const vec *b, const REAL *x)                               \
    {                                                                                                          \
        vec acc[V];                                                                                            \
        for (int v = 0; v < V; v++) acc[v] = b[v];                                                             \
        for (int i = 0; i < IN; i++)                                                                           \
            for (int v = 0; v < V; v++) acc[v] += w[i][v] * x[i];                                              \
        for (int v = 0; v < V; v++) sums[v] = acc[v];                                                          \
    }
FORWARD(forward1, INPUTS, V1)
FORWARD(forward2, H1, V2)
FORWARD(forward3, H2, VO)

/* W += x g', b += g, and the error of the layer before: W e with the updated W. One pass. */
#define BACKWARD(NAME, IN, V)                                                                                  \
    static void NAME(vec w[IN][V], vec *b, const REAL *x, const vec *g, const vec *e, REAL *before)            \
    {                                                                                                          \
        for (int i = 0; i < IN; i++) {                                                                         \
            vec dot = {0};                                                                                     \
            for (int v = 0; v < V; v++) {                                                                      \
                w[i][v] += g[v] * x[i];                                                                        \
                dot += w[i][v] * e[v];                                                                         \
            }                                                                                                  \
            REAL total = 0;                                                                                    \
            for (int k = 0; k < LANES; k++) total += dot[k];                                                   \
            before[i] = total;                                                                                 \
        }                                                                                                      \
        for (int v = 0; v < V; v++) b[v] += g[v];                                                              \
    }
BACKWARD(backward2, H1, V2)
BACKWARD(backward3, H2, VO)

/* One block of V columns: w += x g', sums = w'next. Unrolled by the compiler, since V is known. */
#define FUSED(NAME, V)                                                                                         \
    static void NAME(vec *w, const REAL *x, const REAL *next, const vec *g, vec *sums)                         \
    {                                                                                                          \
        vec step[V], acc[V];                                                                                   \
        for (int v = 0; v < V; v++) step[v] = g[v], acc[v] = (vec){0};                                         \
        for (int i = 0; i < INPUTS; i++, w += V1)                                                              \
            for (int v = 0; v < V; v++) {                                                                      \
                vec row = w[v] + step[v] * x[i];                                                               \
                w[v] = row;                                                                                    \
                acc[v] += row * next[i];                                                                       \
            }                                                                                                  \
        for (int v = 0; v < V; v++) sums[v] = acc[v];                                                          \
    }
FUSED(fused_block, BLOCK)
#if FULL < BLOCKS
FUSED(fused_rest, BLOCK - 1)
#endif

static void fused1(struct network *net, const REAL *x, const REAL *next, const vec *g, vec *sums)
{
    int v = 0;
    for (; v < FULL * BLOCK; v += BLOCK) fused_block(&net->w1[0][v], x, next, g + v, sums + v);
#if FULL < BLOCKS
    for (; v < V1; v += BLOCK - 1) fused_rest(&net->w1[0][v], x, next, g + v, sums + v);
#endif
    for (v = 0; v < V1; v++) net->b1[v] += g[v], sums[v] += net->b1[v];
}

size_t network_bytes(void) { return sizeof(struct network); }

/* Offsets (in numbers) and row lengths of w1, b1, w2, b2, w3, b3: where Python finds them. */
void network_layout(int64_t *out)
{
    int64_t layout[] = {
        offsetof(struct network, w1), V1 * LANES, offsetof(struct network, b1), V1 * LANES,
        offsetof(struct network, w2), V2 * LANES, offsetof(struct network, b2), V2 * LANES,
        offsetof(struct network, w3), VO * LANES, offsetof(struct network, b3), VO * LANES,
    };
    for (int i = 0; i < 12; i += 2) out[i] = layout[i] / (int64_t)sizeof(REAL), out[i + 1] = layout[i + 1];
}

void train(struct network *net, const REAL *x, const int64_t *labels, int64_t n, REAL lr)
{
#if defined(__SSE__)
    unsigned int saved = _mm_getcsr();
    _mm_setcsr(saved | 0x8040); /* denormals are zero, as -ffast-math means it; put back below */
#endif
    vec sums1[V1], sums2[V2], sums3[VO];
    vec g1[V1] = {{0}}, g2[V2] = {{0}}, g3[VO] = {{0}}, e2[V2] = {{0}}, e3[VO] = {{0}};
    REAL h1[V1 * LANES] = {0}, h2[V2 * LANES] = {0}, out[VO * LANES] = {0}, e1[H1], before2[H2];
    REAL *step1 = (REAL *)g1, *step2 = (REAL *)g2, *step3 = (REAL *)g3, *error2 = (REAL *)e2, *error3 = (REAL *)e3;

    if (n > 0) forward1(sums1, net->w1, net->b1, x);
    for (int64_t t = 0; t < n; t++) {
        squash(h1, sums1, H1);
        forward2(sums2, net->w2, net->b2, h1);
        squash(h2, sums2, H2);
        forward3(sums3, net->w3, net->b3, h2);
        squash(out, sums3, OUTPUTS);
        for (int j = 0; j < OUTPUTS; j++) {
            error3[j] = (j == labels[t]) - out[j];
            step3[j] = lr * error3[j] * out[j] * (1 - out[j]);
        }
        backward3(net->w3, net->b3, h2, g3, e3, before2);
        for (int j = 0; j < H2; j++) error2[j] = before2[j], step2[j] = lr * before2[j] * h2[j] * (1 - h2[j]);
        backward2(net->w2, net->b2, h1, g2, e2, e1);
        for (int j = 0; j < H1; j++) step1[j] = lr * e1[j] * h1[j] * (1 - h1[j]);
        const REAL *next = x + (t + 1 < n ? t + 1 : t) * INPUTS;
        fused1(net, x + t * INPUTS, next, g1, sums1);
    }
#if defined(__SSE__)
    _mm_setcsr(saved);
#endif
}

/* The bound: as many numbers as the first layer has, read and written once a sample, one multiplication each. */
void stream(struct network *net, int64_t n, REAL factor)
{
    vec *w = &net->w1[0][0];
    const vec by = splat(factor);
    for (int64_t t = 0; t < n; t++) {
        for (int i = 0; i < INPUTS * H1 / LANES; i++) w[i] *= by;
        __asm__ volatile("" ::: "memory");
    }
}
