/* What two threads pay to meet: `barrier SECONDS` prints lines "work alone together", in microseconds a step.
   Each thread, on a core of its own, works for a while and then waits until the other has done the same step. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { YIELD_AFTER = 1000 };
static _Alignas(64) atomic_long step[2][16];
static long rounds;
static int work;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void do_work(void) {
    for (int k = 0; k < work; k++) __asm__ volatile("nop\nnop\nnop\nnop\nnop\nnop\nnop\nnop");
}

static void *run(void *argument) {
    int me = (int)(long)argument;
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(me, &cores);
    sched_setaffinity(0, sizeof cores, &cores);
    for (long i = 1; i <= rounds; i++) {
        do_work();
        atomic_store_explicit(&step[me][0], i, memory_order_release);
        for (int waits = 0; atomic_load_explicit(&step[1 - me][0], memory_order_acquire) < i;)
            if (++waits > YIELD_AFTER) { sched_yield(); waits = 0; }
    }
    return NULL;
}

int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 0.3;
    for (work = 0; work <= 4000; work = work ? 2 * work : 1000) {
        rounds = 10000;
        double start = now();
        for (long i = 0; i < rounds; i++) do_work();
        double alone = (now() - start) / rounds;
        rounds = (long)(seconds / (alone + 1e-6)) + 1;
        step[0][0] = step[1][0] = 0;
        pthread_t threads[2];
        start = now();
        for (long t = 0; t < 2; t++) pthread_create(&threads[t], NULL, run, (void *)t);
        for (int t = 0; t < 2; t++) pthread_join(threads[t], NULL);
        printf("%.3f %.3f\n", 1e6 * alone, 1e6 * (now() - start) / rounds);
    }
    return 0;
}
