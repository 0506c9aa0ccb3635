/* The first layer of per-sample SGD alone, in blocks of digits, by several orders of its loops.

   For digit t with inputs d_t and steps g_t, of which the weights V take g_t d_t', the sums V d_t are wanted with the
   weights as they are when its turn comes. A block takes V d_t for all its digits with the weights at its start, adds
   g_s (d_s d_t) for all s < t of the block, and updates V once. The steps are given, so that all orders come to the same.

   What is inked, and by whom, is listed before the clock starts. LANES numbers are a register; rows have ROW numbers. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
typedef float vec __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
enum { PIXELS = 784, UNITS = 200, ROW = 208, LANES = VECTOR_BYTES / 4, LENGTH = (UNITS + LANES - 1) / LANES * LANES };
enum { MOST = 32, CASES = 16, TILE = 16 };
/* Keeps a value in its register, where gcc would rather read it from memory at each use. */
#if defined(__SSE__)
#define KEEP(value) __asm__("" : "+x"(value))
#elif defined(__aarch64__)
#define KEEP(value) __asm__("" : "+w"(value))
#else
#define KEEP(value)
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 8")
#define ROLLED _Pragma("GCC unroll 1")

static float *weights;
static float sums[MOST][ROW] __attribute__((aligned(64)));
static float changes[MOST][ROW] __attribute__((aligned(64))), values[MOST][PIXELS] __attribute__((aligned(64)));
static volatile long read;

INLINE vec load(const float *place) { return *(const vec *)place; }
INLINE void store(float *place, vec value) { *(vec *)place = value; }
INLINE vec all(float x) { return (vec){0} + x; }

/* K digits and R rows at once: their values wait in registers while the loop goes along the columns. */
INLINE void gather_rows(const int16_t *rows, float *const *to, const float *const *x, const int K, const int R) {
    vec value[4][4];
    const float *row[4];
    UNROLLED for (int i = 0; i < R; i++) {
        row[i] = weights + rows[i] * ROW;
        UNROLLED for (int t = 0; t < K; t++) value[i][t] = all(x[t][rows[i]]);
    }
    ROLLED for (long c = 0; c < LENGTH; c += LANES) {
        vec sum[4];
        UNROLLED for (int t = 0; t < K; t++) sum[t] = load(to[t] + c);
        UNROLLED for (int i = 0; i < R; i++) {
            vec w = load(row[i] + c);
            KEEP(w);
            UNROLLED for (int t = 0; t < K; t++) sum[t] += value[i][t] * w;
        }
        UNROLLED for (int t = 0; t < K; t++) store(to[t] + c, sum[t]);
    }
}

INLINE void update_rows(const int16_t *rows, float *const *g, const float *const *x, const int K, const int R) {
    vec value[4][4];
    float *row[4];
    UNROLLED for (int i = 0; i < R; i++) {
        row[i] = weights + rows[i] * ROW;
        UNROLLED for (int t = 0; t < K; t++) value[i][t] = all(x[t][rows[i]]);
    }
    ROLLED for (long c = 0; c < LENGTH; c += LANES) {
        vec step[4];
        UNROLLED for (int t = 0; t < K; t++) step[t] = load(g[t] + c);
        UNROLLED for (int i = 0; i < R; i++) {
            vec w = load(row[i] + c);
            UNROLLED for (int t = 0; t < K; t++) w += value[i][t] * step[t];
            store(row[i] + c, w);
        }
    }
}

#define BY_FOURS(name, K) \
    static __attribute__((noinline)) void name##_##K(const int16_t *rows, int count, float *const *a, const float *const *x) { \
        int k = 0; \
        ROLLED for (; k + 4 <= count; k += 4) name##_rows(rows + k, a, x, K, 4); \
        ROLLED for (; k < count; k++) name##_rows(rows + k, a, x, K, 1); \
    }
BY_FOURS(gather, 1) BY_FOURS(gather, 2) BY_FOURS(gather, 3) BY_FOURS(gather, 4)
BY_FOURS(update, 1) BY_FOURS(update, 2) BY_FOURS(update, 3) BY_FOURS(update, 4)
typedef void rows_of(const int16_t *, int, float *const *, const float *const *);
static rows_of *const gathers[] = {gather_1, gather_2, gather_3, gather_4};
static rows_of *const updates[] = {update_1, update_2, update_3, update_4};

/* Lists of a block: the rows of each case (by_case), of each digit (by_tiles, TILE rows of the weights at a time), or of
   all digits together (all_digits). */
typedef struct {
    int16_t rows[MOST][PIXELS], count[MOST];
    int16_t tile[MOST][PIXELS / TILE + 1];
} lists;

static void list_block(lists *of, const float *x, int size, int order) {
    memset(of->count, 0, sizeof of->count);
    for (int p = 0; p < PIXELS; p++) {
        int inked = 0;
        for (int t = 0; t < size; t++) {
            if (p % TILE == 0) of->tile[t][p / TILE] = of->count[t];
            if (x[t * PIXELS + p] == 0) continue;
            inked |= order ? 1 : 1 << t;
            if (order == 1) of->rows[t][of->count[t]++] = p;
        }
        if (order != 1 && inked) of->rows[inked][of->count[inked]++] = p;
    }
    for (int t = 0; t < size; t++) of->tile[t][PIXELS / TILE] = of->count[t];
}

static void pass(const lists *of, const float *x, float *a, int size, int order, int updating) {
    rows_of *const *of_members = updating ? updates : gathers;
    float *places[MOST];
    const float *values[MOST];
    if (order == 0) {  /* rows by case: which of the digits ink them */
        for (int c = 1; c < 1 << size; c++) {
            int members = 0;
            for (int t = 0; t < size; t++)
                if (c >> t & 1) places[members] = a + t * ROW, values[members++] = x + t * PIXELS;
            of_members[members - 1](of->rows[c], of->count[c], places, values);
        }
        return;
    }
    for (int t = 0; t < size; t++) places[t] = a + t * ROW, values[t] = x + t * PIXELS;
    if (order == 1)  /* rows of a tile, digit by digit, while the tile is in the first-level cache */
        for (int k = 0; k < PIXELS / TILE; k++)
            for (int t = 0; t < size; t++)
                of_members[0](of->rows[t] + of->tile[t][k], of->tile[t][k + 1] - of->tile[t][k], places + t, values + t);
    else  /* all rows that anyone inks, times all digits, four at a time, zeros too; again a tile at a time */
        for (int k = 0; k < of->count[1]; k += TILE)
            for (int t = 0; t < size; t += 4)
                of_members[3](of->rows[1] + k, of->count[1] - k < TILE ? of->count[1] - k : TILE, places + t, values + t);
}

/* Add to the sums what the digits before have changed. */
static void correct(const float *x, const float *g, int size) {
    for (int t = 1; t < size; t++)
        for (int s = 0; s < t; s++) {
            vec product = {0};
            const float *one = x + s * PIXELS, *other = x + t * PIXELS;
            for (int p = 0; p < PIXELS; p += LANES) product += load(one + p) * load(other + p);
            float total = 0;
            for (int k = 0; k < LANES; k++) total += product[k];
            for (int c = 0; c < LENGTH; c += LANES)
                store(sums[t] + c, load(sums[t] + c) + all(total) * load(g + s * ROW + c));
        }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Take n digits in blocks of `size`; order 0: by case (size at most 4), 1: by tiles, 2: all digits (size a multiple of
   4). Writes the sums of each digit to `out`, and into `seconds` what forward pass, corrections and update took. */
int blocks(float *w, const float *x, const float *g, long n, int size, int order, float *out, double *seconds) {
    lists *listed = malloc(n / size * sizeof *listed);
    if (!listed) return 1;
    weights = w;
    double tick = 1;  /* what looking at the clock takes, which is no digit's */
    for (int k = 0; k < 1000; k++) {
        double start = now(), took = now() - start;
        if (took < tick) tick = took;
    }
    for (long b = 0; b < n / size; b++) list_block(listed + b, x + b * size * PIXELS, size, order);
    for (long b = 0; b < n / size; b++) {
        /* Read before the clock starts too: fastnn reads and lists a block's pixels just before. */
        const float *inputs = memcpy(values, x + b * size * PIXELS, size * sizeof *values);
        float *steps = memcpy(changes, g + b * size * ROW, size * sizeof *changes);
        for (int l = 0; l < MOST; l++)
            for (int k = 0; k < listed[b].count[l]; k++) read += listed[b].rows[l][k];
        double start = now();
        memset(sums, 0, size * sizeof *sums);
        pass(listed + b, inputs, sums[0], size, order, 0);
        double gathered = now();
        correct(inputs, steps, size);
        double corrected = now();
        pass(listed + b, inputs, steps, size, order, 1);
        double updated = now();
        seconds[0] += gathered - start - tick;
        seconds[1] += corrected - gathered - tick;
        seconds[2] += updated - corrected - tick;
        memcpy(out + b * size * ROW, sums, size * sizeof *sums);
    }
    free(listed);
    return 0;
}
