// Frames of VMs that wait for a range of ports: one queue for each slot of a DIP (agent.h), out of one pool of places.
//
// A frame is the edge's (a pointer that is not looked at), with the VM port it came from and the time since when it waits. A
// queue is in the order in which frames came, so that its first one has waited longest.
// When full: a queue holds at most SNAT_HOLD_PACKETS, and no more than there are free places (Choudhury and Hahne, dynamic
// queue length thresholds, 1998): one DIP gets half of the places at most, and the next ones find some. Beyond, the oldest
// of the same queue gives way, or, where that is empty, the new frame itself. So one DIP cannot take another's place.
// Threads: one owner, the worker; hold_queue_count from any thread. Cost: O(1); looking for those that have waited too long
// looks at every slot, and at none while nothing waits. Memory: 24 bytes a place, 6 a slot, allocated at the start.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/mono.h"
#include "hostagent/core/snat.h"

#define HOLD_NOTHING UINT16_MAX

struct held_frame {
	void *frame;
	struct mono_time since;
	uint16_t port;
	uint16_t next; // behind it in its queue, or in the list of free places
};

struct hold_slot {
	uint16_t first;
	uint16_t last;
	uint16_t n;
};

struct hold_queue {
	uint32_t n_slots;
	uint32_t n_places;
	uint32_t n; // frames that wait, of all slots
	uint16_t free;
	struct held_frame *places;
	struct hold_slot *slots;
};

// n_places below 65,535. ERR_NO_MEMORY.
NODISCARD int hold_queue_init(struct hold_queue *q, uint32_t n_slots, uint32_t n_places);

// Frames that still wait are the caller's to take before.
void hold_queue_fini(struct hold_queue *q);

// Adds a frame. Returns the one that had to give way for it (perhaps itself), which is the caller's to drop; or NULL.
void *hold_queue_put(struct hold_queue *q, uint16_t slot, const struct held_frame *frame);

// The slot's oldest; false when none waits.
bool hold_queue_take(struct hold_queue *q, uint16_t slot, struct held_frame *ret_frame);

// The next one, of any slot, that waits since before `since`; *cursor is 0 at first.
bool hold_queue_take_expired(struct hold_queue *q, struct mono_time since, uint32_t *cursor, uint16_t *ret_slot,
                             struct held_frame *ret_frame);

uint32_t hold_queue_count(const struct hold_queue *q, uint16_t slot);
