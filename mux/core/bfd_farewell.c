#include "mux/core/bfd_farewell.h"

#include <string.h>

#define BFD_PORT 3784 // RFC 5881 section 4
#define BFD_MULTIHOP_PORT 4784 // RFC 5883 section 5

enum { BFD_STATE_DOWN = 1, BFD_STATE_UP = 3, BFD_DIAG_PATH_DOWN = 5 };
enum { BFD_AUTHENTICATED = 0x04, BFD_POLL_FINAL = 0x30 };

struct bfd_control { // the beginning; what follows stays as it is
	uint8_t version_diag;
	uint8_t state_flags; // state in the upper two bits
	uint8_t detect_multiplier;
	uint8_t length;
} PACKED;

struct bfd_frame {
	struct eth_header eth;
	struct ip4_header ip;
	struct udp_header udp;
	struct bfd_control bfd;
} PACKED;

static bool is_bfd(const uint8_t *frame, uint32_t len)
{
	const struct bfd_frame *f = (const struct bfd_frame *)frame;
	return len >= BFD_FRAME_BYTES && f->eth.ether_type == be16_from(ETHER_IP4) && f->ip.version_ihl == 0x45 &&
	       f->ip.protocol == IP_PROTO_UDP &&
	       (f->udp.dst_port == be16_from(BFD_PORT) || f->udp.dst_port == be16_from(BFD_MULTIHOP_PORT)) &&
	       f->bfd.version_diag >> 5 == 1;
}

// Could a farewell be made of it? One that is authenticated could not be signed.
static bool is_up(const struct bfd_frame *f)
{
	return f->bfd.state_flags >> 6 == BFD_STATE_UP && f->bfd.length == BFD_CONTROL_BYTES &&
	       (f->bfd.state_flags & BFD_AUTHENTICATED) == 0;
}

// That of the router, or a free one; NULL when there are more routers than notes.
static struct bfd_note *note_of(struct bfd_book *book, be32 router)
{
	for (uint32_t i = 0; i < BFD_ROUTERS_MAX; i++)
		if (book->notes[i].router == router || book->notes[i].router == 0)
			return &book->notes[i];
	return NULL;
}

static void turn_page(struct bfd_note *n)
{
	atomic_fetch_add_explicit(&n->n_changes, 1, memory_order_acq_rel);
}

void bfd_book_note(struct bfd_book *book, const uint8_t *frame, uint32_t len)
{
	const struct bfd_frame *f = (const struct bfd_frame *)frame;
	struct bfd_note *n = is_bfd(frame, len) ? note_of(book, f->ip.dst) : NULL;
	if (n == NULL)
		return;
	turn_page(n);
	n->router = f->ip.dst;
	n->is_up = is_up(f);
	memcpy(n->frame, frame, BFD_FRAME_BYTES);
	turn_page(n);
}

static void make_farewell(uint8_t *frame)
{
	struct bfd_frame *f = (struct bfd_frame *)frame;
	f->udp.checksum = 0; // none: IPv4 allows it (RFC 768)
	f->bfd.version_diag = 1 << 5 | BFD_DIAG_PATH_DOWN;
	f->bfd.state_flags = (uint8_t)(BFD_STATE_DOWN << 6 | (f->bfd.state_flags & 0x3f & ~BFD_POLL_FINAL));
}

uint32_t bfd_book_farewells(const struct bfd_book *book, uint8_t ret_frames[BFD_ROUTERS_MAX][BFD_FRAME_BYTES])
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < BFD_ROUTERS_MAX; i++) {
		const struct bfd_note *note = &book->notes[i];
		if (!note->is_up || atomic_load_explicit(&note->n_changes, memory_order_acquire) % 2 != 0)
			continue;
		memcpy(ret_frames[n], note->frame, BFD_FRAME_BYTES);
		make_farewell(ret_frames[n++]);
	}
	return n;
}
