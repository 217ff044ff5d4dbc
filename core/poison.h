/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_POISON_H
#define PG_POISON_H

/* Memory that is kept without being in use: under AddressSanitizer, touching it is an error as if it
 * had been freed. Else both are nothing. */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PG_POISONS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define PG_POISONS 1
#endif

#ifdef PG_POISONS
#include <stddef.h>
void __asan_poison_memory_region(const volatile void *start, size_t bytes);
void __asan_unpoison_memory_region(const volatile void *start, size_t bytes);
#define PG_POISON(start, bytes)   __asan_poison_memory_region((start), (bytes))
#define PG_UNPOISON(start, bytes) __asan_unpoison_memory_region((start), (bytes))
#else
#define PG_POISON(start, bytes)   ((void)(start), (void)(bytes))
#define PG_UNPOISON(start, bytes) ((void)(start), (void)(bytes))
#endif

#endif
