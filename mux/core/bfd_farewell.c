#include "mux/core/bfd_farewell.h"

#include <string.h>

#include "common/packet/checksum.h"

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

// Where its parts are in a frame.
struct bfd_place {
	uint32_t udp_off; // 0: it is no BFD
	uint32_t n_bytes;
	uint8_t router[16];
};

static struct bfd_place place_in_ip4(const uint8_t *frame)
{
	const struct ip4_header *ip = (const struct ip4_header *)(frame + ETH_BYTES);
	struct bfd_place p = { .n_bytes = BFD_FRAME_BYTES, .router = { [10] = 0xff, [11] = 0xff } };
	store32(p.router + 12, ip->dst);
	if (ip->version_ihl == 0x45 && ip->protocol == IP_PROTO_UDP)
		p.udp_off = ETH_BYTES + IP4_BYTES;
	return p;
}

static struct bfd_place place_in_ip6(const uint8_t *frame)
{
	const struct ip6_header *ip = (const struct ip6_header *)(frame + ETH_BYTES);
	struct bfd_place p = { .n_bytes = BFD_FRAME6_BYTES };
	memcpy(p.router, ip->dst, sizeof p.router);
	if (ip->next_header == IP_PROTO_UDP && be16_to(ip->payload_length) == BFD_FRAME6_BYTES - ETH_BYTES - IP6_BYTES)
		p.udp_off = ETH_BYTES + IP6_BYTES;
	return p;
}

static const struct bfd_control *control_of(const uint8_t *frame, const struct bfd_place *p)
{
	return (const struct bfd_control *)(frame + p->udp_off + sizeof(struct udp_header));
}

static struct bfd_place find_bfd(const uint8_t *frame, uint32_t len)
{
	static const struct bfd_place none;
	struct bfd_place p = none;
	if (len >= BFD_FRAME_BYTES && frame_ether_type(frame) == be16_from(ETHER_IP4))
		p = place_in_ip4(frame);
	else if (len >= BFD_FRAME6_BYTES && frame_ether_type(frame) == be16_from(ETHER_IP6))
		p = place_in_ip6(frame);
	const struct udp_header *udp = (const struct udp_header *)(frame + p.udp_off);
	bool is_bfd = p.udp_off != 0 &&
	              (udp->dst_port == be16_from(BFD_PORT) || udp->dst_port == be16_from(BFD_MULTIHOP_PORT)) &&
	              control_of(frame, &p)->version_diag >> 5 == 1;
	return is_bfd ? p : none;
}

// Could a farewell be made of it? One that is authenticated could not be signed.
static bool is_up(const struct bfd_control *c)
{
	return c->state_flags >> 6 == BFD_STATE_UP && c->length == BFD_CONTROL_BYTES &&
	       (c->state_flags & BFD_AUTHENTICATED) == 0;
}

// That of the router, or a free one; NULL when there are more routers than notes.
static struct bfd_note *note_of(struct bfd_book *book, const uint8_t *router)
{
	for (uint32_t i = 0; i < BFD_ROUTERS_MAX; i++)
		if (book->notes[i].n_bytes == 0 || memcmp(book->notes[i].router, router, sizeof book->notes[i].router) == 0)
			return &book->notes[i];
	return NULL;
}

static void turn_page(struct bfd_note *n)
{
	atomic_fetch_add_explicit(&n->n_changes, 1, memory_order_acq_rel);
}

void bfd_book_note(struct bfd_book *book, const uint8_t *frame, uint32_t len)
{
	const struct bfd_place p = find_bfd(frame, len);
	struct bfd_note *n = p.udp_off != 0 ? note_of(book, p.router) : NULL;
	if (n == NULL)
		return;
	turn_page(n);
	memcpy(n->router, p.router, sizeof n->router);
	n->is_up = is_up(control_of(frame, &p));
	n->n_bytes = p.n_bytes;
	memcpy(n->frame, frame, p.n_bytes);
	turn_page(n);
}

// Over IPv6 there must be one (RFC 8200 section 8.1), over IPv4 there need not be (RFC 768).
static be16 checksum_of(const uint8_t *frame, const struct bfd_place *p)
{
	if (frame_ether_type(frame) == be16_from(ETHER_IP4))
		return 0;
	const struct ip6_header *ip = (const struct ip6_header *)(frame + ETH_BYTES);
	const uint32_t n_bytes = p->n_bytes - p->udp_off;
	uint32_t sum = checksum_add(ip->src, 2 * sizeof ip->src, be16_from(IP_PROTO_UDP) + be16_from((uint16_t)n_bytes));
	be16 checksum = (be16)~checksum_fold(checksum_add(frame + p->udp_off, n_bytes, sum));
	return checksum != 0 ? checksum : 0xffff;
}

static void make_farewell(struct bfd_frame *f)
{
	const struct bfd_place p = find_bfd(f->bytes, f->n_bytes);
	struct udp_header *udp = (struct udp_header *)(f->bytes + p.udp_off);
	struct bfd_control *bfd = (struct bfd_control *)(udp + 1);
	bfd->version_diag = 1 << 5 | BFD_DIAG_PATH_DOWN;
	bfd->state_flags = (uint8_t)(BFD_STATE_DOWN << 6 | (bfd->state_flags & 0x3f & ~BFD_POLL_FINAL));
	udp->checksum = 0;
	udp->checksum = checksum_of(f->bytes, &p);
}

uint32_t bfd_book_farewells(const struct bfd_book *book, struct bfd_frame ret_frames[BFD_ROUTERS_MAX])
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < BFD_ROUTERS_MAX; i++) {
		const struct bfd_note *note = &book->notes[i];
		if (!note->is_up || atomic_load_explicit(&note->n_changes, memory_order_acquire) % 2 != 0)
			continue;
		ret_frames[n].n_bytes = note->n_bytes;
		memcpy(ret_frames[n].bytes, note->frame, note->n_bytes);
		make_farewell(&ret_frames[n++]);
	}
	return n;
}
