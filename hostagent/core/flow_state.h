// The life of a flow as a NAT sees it: which packets moved it where, and how long it may be silent (RFC 5382, RFC 4787).
//
// The agent follows a connection, it does not police it: sequence numbers are the VM's business, but for that of its SYN-ACK, by
// which a handshake with this VM is told from one with another (flow_table.h). So a state only decides how long an idle flow is
// remembered, whether a new SYN may take its place, and whether the other side confirmed it.
//
//                 SYN in            SYN-ACK out            anything in
//   (no flow) ------------> SYN ----------------> SYN_ACK --------------> ESTABLISHED
//                                                                          |      |
//                                                                   FIN in |      | FIN out
//   (no flow) --not a SYN, from the client--> UNCONFIRMED_IN               v      v
//   (no flow) --not a SYN, from the VM------> UNCONFIRMED_OUT           FIN_IN  FIN_OUT
//             each -- the other side speaks --> ESTABLISHED                |      |
//                                                               FIN out    v      v    FIN in
//   SYN, SYN_ACK -- RST out --> REFUSED                                     CLOSED
//   any other but CLOSED -- RST out --> RESET
//   any but CLOSED -- RST in --> RESET_IN   (SYN, SYN_OUT: RESET, as nothing was said yet)
//   RESET_IN, RESET, REFUSED -- the VM goes on sending --> DISPUTED -- so does the other side --> ESTABLISHED
//   CLOSED, RESET_IN, RESET, REFUSED -- SYN in --> a new flow (TIME_WAIT reuse, RFC 9293 section 3.6.1; RFC 5382 REQ-5)
//
// Anybody can forge a RST who knows addresses and ports; whether its sequence number is right only the VM can tell (RFC 5961
// section 3). So a RST that comes in ends nothing here: it is delivered, and the flow is remembered for a shorter time (RFC 7857
// section 2.2: four minutes), in which a VM that did not believe it goes on.
//
// A connection that the VM begins (SNAT), with a leased port of a VIP:
//
//                 SYN out               SYN-ACK in, or SYN in           anything out
//   (no flow) ------------> SYN_OUT ------------------------> SYN_ACK_IN ------------> ESTABLISHED, and on as above
//
//   CLOSED, RESET_IN, RESET -- SYN out --> a new flow, with another port
//
// Pure functions of a small table; no state of its own.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/packet/headers.h"

enum flow_state {
	FLOW_FREE = 0, // no flow: the entry of the table is unused
	FLOW_UDP, // and every other protocol without connections that are seen here
	FLOW_SYN,
	FLOW_SYN_ACK,
	FLOW_ESTABLISHED,
	FLOW_UNCONFIRMED_IN,
	FLOW_UNCONFIRMED_OUT,
	FLOW_FIN_IN,
	FLOW_FIN_OUT,
	FLOW_CLOSED,
	FLOW_RESET,
	FLOW_SYN_OUT,
	FLOW_SYN_ACK_IN,
	FLOW_ICMP, // an echo request of a VM, and its replies
	FLOW_REFUSED, // the VM would not have it
	FLOW_RESET_IN, // a RST came in, which the VM may have believed or not
	FLOW_DISPUTED, // ... and the VM sent something since
	FLOW_STATE_COUNT // the numbers are in saved tables: new ones go to the end
};

// Beside the state in an entry's byte: the flow was begun by the VM, and counts among those that use a leased port.
#define FLOW_IS_SNAT 0x80u
#define FLOW_STATE_MASK 0x1fu

// Inbound: from the client to the VM. Reply: from the VM to the client.
enum flow_direction { FLOW_INBOUND = 0, FLOW_REPLY = 1 };

// Seconds of silence after which a flow is forgotten, by state.
//   UDP              300  RFC 4787 REQ-5 recommends five minutes, and demands two
//   SYN               30  the VM did not answer: nothing was promised to anybody
//   SYN_OUT, SYN_ACK*,
//   FIN_*,
//   UNCONFIRMED_*    240  RFC 5382 REQ-5: a transitory connection, at least four minutes
//   RESET_IN         240  RFC 7857 section 2.2; not of SNAT: as RESET (flow_table.c)
//   DISPUTED         240  RFC 7857 section 2.2
//   ESTABLISHED     7440  RFC 5382 REQ-5: at least 2 hours 4 minutes
//   CLOSED           120  twice the maximum segment lifetime, as the endpoints' TIME_WAIT
//   RESET, REFUSED    10  what is still on its way
//   ICMP              60  RFC 5508 REQ-2
uint32_t flow_state_timeout_s(enum flow_state state);

// What VIPs say otherwise: of their flows in ESTABLISHED and in UDP. 0: nothing.
struct flow_idle {
	be32 vip;
	uint32_t tcp_s;
	uint32_t udp_s;
};

struct flow_idles {
	uint32_t n;
	struct flow_idle *list; // ascending by the number that `vip` is
};

// The same for a flow of this VIP. `idles` may be NULL.
uint32_t flow_idles_timeout_s(const struct flow_idles *idles, be32 vip, enum flow_state state);

// The state after a packet with these TCP flags went in that direction. UDP stays UDP, ICMP stays ICMP.
enum flow_state flow_state_after(enum flow_state state, enum flow_direction direction, uint8_t tcp_flags);

// The state of a flow that begins with this packet.
enum flow_state flow_state_first(uint8_t protocol, enum flow_direction direction, uint8_t tcp_flags);

// The state of a flow that a VM begins: with a SYN, a UDP packet or an echo request.
enum flow_state flow_state_begun(uint8_t protocol);

// May a SYN begin a new connection in the place of this one?
bool flow_state_is_over(enum flow_state state);

// "established"; never NULL.
const char *flow_state_name(enum flow_state state);

static inline bool tcp_is_syn(uint8_t tcp_flags)
{
	return (tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

static inline bool tcp_is_syn_ack(uint8_t tcp_flags)
{
	return (tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == (TCP_SYN | TCP_ACK);
}
