/* SIGKILL after every single machine instruction of a writer's claim, fill, publish, and of a reader's attach, lease, release.
 * After each death the survivor recovers or evicts as the appliance does, and the ring must work as if nothing had happened.
 * Exit status 0 and one line a policy and role: deaths tried. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring.h"

enum { SLOTS = 4, WORDS = 8, VICTIM = 0, SURVIVOR = 1, INSTRUCTIONS_MAX = 20000 };

static struct ring *ring;

#define REQUIRE(condition)                                                                                                          \
    do {                                                                                                                            \
        if (!(condition)) {                                                                                                         \
            printf("line %d: %s\n", __LINE__, #condition);                                                                          \
            exit(1);                                                                                                                \
        }                                                                                                                           \
    } while (0)

static void write_one(uint64_t number)
{
    int slot = ring_claim(ring);
    REQUIRE(slot >= 0);
    uint64_t *samples = (uint64_t *)ring_payload(ring, (uint32_t)slot);
    for (int i = 0; i < WORDS; i++)
        samples[i] = number;
    ring->slots[slot].header.number = number;
    ring_publish(ring, slot);
}

static int lease(uint32_t reader)
{
    return ring->policy == RING_EVERY ? ring_lease_next(ring, reader) : ring_lease_latest(ring, reader);
}

/* Number of the frame that the reader gets, whole; 0 if there is none. */
static uint64_t read_one(uint32_t reader)
{
    int slot = lease(reader);
    if (slot < 0)
        return 0;
    uint64_t number = ring->slots[slot].header.number;
    const uint64_t *samples = (const uint64_t *)ring_payload(ring, (uint32_t)slot);
    for (int i = 0; i < WORDS; i++)
        REQUIRE(samples[i] == number);
    ring_release(ring, reader, slot);
    return number;
}

static void fresh(uint32_t policy)
{
    uint8_t format[RING_FORMAT_BYTES] = {0};
    memset(ring, 0, ring_mapping_bytes(SLOTS, WORDS * sizeof(uint64_t)));
    ring_initialise(ring, SLOTS, WORDS * sizeof(uint64_t), policy, format, 1);
    ring_attach(ring, SURVIVOR);
    for (uint64_t number = 1; number <= 3; number++) {
        write_one(number);
        REQUIRE(read_one(SURVIVOR) == number);
    }
}

static void victim_writes(void) { write_one(1000); }

static void victim_reads(void)
{
    ring_attach(ring, VICTIM);
    write_one(1000); /* stands for the living writer, so that there is something to lease */
    (void)read_one(VICTIM);
}

/* Runs the victim for that many instructions, then kills it. 0 if it ended by itself before. */
static int die_after(long instructions, void (*victim)(void))
{
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        victim();
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    for (long i = 0; i < instructions; i++) {
        ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
        waitpid(child, &status, 0);
        if (WIFEXITED(status))
            return 0;
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return 1;
}

static void check_after_writer(void)
{
    uint64_t before = atomic_load(&ring->published);
    ring_recover(ring);
    REQUIRE(atomic_load(&ring->published) >= before);
    uint64_t got = read_one(SURVIVOR);
    REQUIRE(got == 0 || got == 1000);
    for (uint64_t number = 2000; number < 2000 + 3 * SLOTS; number++) {
        write_one(number);
        REQUIRE(read_one(SURVIVOR) == number);
    }
}

static void check_after_reader(void)
{
    ring_recover(ring); /* the victim also played the writer */
    ring_evict(ring, VICTIM);
    (void)read_one(SURVIVOR);
    for (uint64_t number = 2000; number < 2000 + 3 * SLOTS; number++) {
        write_one(number);
        REQUIRE(read_one(SURVIVOR) == number);
    }
    ring_attach(ring, VICTIM);
    write_one(3000);
    REQUIRE(read_one(VICTIM) == 3000);
}

static void try_every_step(uint32_t policy, const char *role, void (*victim)(void), void (*check)(void))
{
    long step = 0;
    for (int alive = 1; alive; step++) {
        REQUIRE(step < INSTRUCTIONS_MAX);
        fresh(policy);
        alive = die_after(step, victim);
        check();
    }
    printf("%s, policy %u: %ld deaths\n", role, policy, step - 1);
}

int main(void)
{
    ring = mmap(NULL, ring_mapping_bytes(SLOTS, WORDS * sizeof(uint64_t)), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(ring != MAP_FAILED);
    for (uint32_t policy = RING_LATEST; policy <= RING_EVERY; policy++) {
        try_every_step(policy, "writer", victim_writes, check_after_writer);
        try_every_step(policy, "reader", victim_reads, check_after_reader);
    }
    return 0;
}
