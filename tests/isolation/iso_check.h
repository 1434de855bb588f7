/*
 * iso_check.h - which anomalies does a history of transactions over lists show?
 *
 * Every value is appended once in a history, so a read of a list names its writers and their order:
 * version orders need not be guessed. From them come the dependencies between transactions,
 *
 *   ww  appended right behind what the other appended
 *   wr  read a list that ends in what the other appended
 *   rw  read a list that lacks what the other appended right behind it
 *
 * and an anomaly is a cycle of a kind, or a read that no order can explain. After Adya, Liskov and
 * O'Neil, "Generalized Isolation Level Definitions", ICDE 2000; Kingsbury and Alvaro, "Elle", VLDB
 * 2020; that under snapshot isolation every cycle has two rw edges in a row: Fekete et al., "Making
 * Snapshot Isolation Serializable", TODS 2005.
 *
 * One thread. Everything is in memory; linear in the size of the history, but for one search for
 * each rw edge inside a cycle.
 */
#ifndef VARVE_TESTS_ISOLATION_ISO_CHECK_H
#define VARVE_TESTS_ISOLATION_ISO_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct iso_history iso_history;

typedef enum iso_end {
    ISO_COMMITTED,
    ISO_ABORTED, /* nothing of it may be seen; what it read must be explained all the same */
    ISO_UNKNOWN, /* no answer: committed when anybody saw it */
} iso_end;

/* Bits. */
typedef enum iso_anomaly {
    ISO_G0 = 1 << 0,          /* dirty write: a cycle of ww */
    ISO_G1A = 1 << 1,         /* aborted read */
    ISO_G1B = 1 << 2,         /* intermediate read */
    ISO_G1C = 1 << 3,         /* circular information flow: a cycle of ww and wr */
    ISO_LOST_UPDATE = 1 << 4, /* two replaced the same version, or a committed append is gone */
    ISO_READ_SKEW = 1 << 5,   /* G-single: a cycle with exactly one rw */
    ISO_LONG_FORK = 1 << 6,   /* a cycle with several rw, no two of them in a row */
    ISO_WRITE_SKEW = 1 << 7,  /* G2: any other cycle; snapshot isolation allows it */
    ISO_ORDER = 1 << 8,       /* two reads of one list, neither a prefix of the other */
    ISO_INTERNAL = 1 << 9, /* a transaction does not see its own appends, or reads twice unlike */
    ISO_GARBAGE = 1 << 10, /* a value nobody appended, or twice in a list */
} iso_anomaly;

#define ISO_SNAPSHOT_ALLOWS ISO_WRITE_SKEW

iso_history *iso_create(void);
void iso_destroy(iso_history *h);

/** Begin the next transaction; its operations follow, in their order. Keys are 0..ISO_KEYS_MAX - 1,
 * values 1..2^31. */
#define ISO_KEYS_MAX 64u
void iso_txn(iso_history *h, iso_end end);
void iso_append(iso_history *h, uint32_t key, uint32_t value);
void iso_read(iso_history *h, uint32_t key, const uint32_t *values, size_t count);

/** The anomalies it shows; the first of each kind is told in why. */
uint32_t iso_check(iso_history *h, char *why, size_t why_len);

/** "G0 lost-update", of bits. */
const char *iso_names(uint32_t anomalies);

#endif
