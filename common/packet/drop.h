// Why a packet was dropped: one list for all programs. Every reason is a counter that the operator sees as drop_<name>.
#pragma once

// A new reason is one new line.
// clang-format off
#define DROP_REASONS(X) \
	X(RUNT, "runt", "the frame is shorter than its headers") \
	X(ETHER_TYPE, "ether_type", "neither IPv4, IPv6 nor ARP") \
	X(IP_VERSION, "ip_version", "the version field is not that of the Ethernet type") \
	X(IP_LENGTH, "ip_length", "header or total length beyond the frame, or below the header") \
	X(IP6_EXTENSION, "ip6_extension", "IPv6 extension headers that are too many, in a wrong place, or source routing") \
	X(FRAGMENT, "fragment", "a fragment whose first one was dropped, or that is not taken here") \
	X(FRAGMENT_MALFORMED, "fragment_malformed", "a fragment that is too small, or beyond the largest packet") \
	X(FRAGMENT_OVERLAP, "fragment_overlap", "a fragment that overlaps another, or of a datagram with such") \
	X(FRAGMENT_HOLD_FULL, "fragment_hold_full", "more fragments waited for their first one than are held") \
	X(FRAGMENT_TIMEOUT, "fragment_timeout", "a fragment waited for its first one, which did not come in time") \
	X(L4_LENGTH, "l4_length", "the TCP, UDP or ICMP header does not fit into the packet") \
	X(UDP6_NO_CHECKSUM, "udp6_no_checksum", "UDP over IPv6 without a checksum, where it must have one") \
	X(ND_MALFORMED, "nd_malformed", "Neighbor Discovery with a wrong hop limit, checksum, address or option") \
	X(ARP_MALFORMED, "arp_malformed", "an ARP packet that is none of Ethernet and IPv4") \
	X(NOT_FOR_US, "not_for_us", "sent to another MAC address, or to an address that nobody here has") \
	X(BAD_SOURCE, "bad_source", "from an address that is no host's, or from where it goes to") \
	X(NO_CONFIG, "no_config", "no configuration has arrived yet") \
	X(NOT_A_VIP, "not_a_vip", "the destination is no VIP") \
	X(NO_ENDPOINT, "no_endpoint", "the VIP has no endpoint of this protocol and port") \
	X(ICMP_IGNORED, "icmp_ignored", "ICMP to a VIP that is neither echo nor an error") \
	X(NO_NEXT_HOP, "no_next_hop", "no gateway of the family answers ARP or Neighbor Discovery") \
	X(TOO_BIG, "too_big", "packet and outer header exceed the MTU of the way to the DIP") \
	X(NO_BUFFER, "no_buffer", "no buffer was left for the second half of a packet that had to be cut") \
	X(NO_HEADROOM, "no_headroom", "the buffer has no room for the outer header") \
	X(TX_FULL, "tx_full", "the port's transmit queue was full") \
	X(ENCAP_SOURCE, "encap_source", "encapsulated by an address that is no mux and no agent") \
	X(ENCAP_MALFORMED, "encap_malformed", "the packet inside the encapsulation is not valid") \
	X(ENCAP_NO_ENDPOINT, "encap_no_endpoint", "encapsulated for an endpoint that this DIP does not serve") \
	X(SPOOFED_SOURCE, "spoofed_source", "a VM sent from an address that is not its DIP") \
	X(SPOOFED_MAC, "spoofed_mac", "a VM sent from a MAC address that is not its own") \
	X(VM_ENCAP, "vm_encap", "a VM sent an encapsulated packet") \
	X(BAD_DESTINATION, "bad_destination", "a VM wants to reach an address that is no host's") \
	X(FLOW_TABLE_FULL, "flow_table_full", "no room for a new flow") \
	X(FLOW_NOT_SYN, "flow_not_syn", "a packet in the middle of a connection that cannot be adopted") \
	X(FLOW_CONFLICT, "flow_conflict", "the client has another connection to the same port of the VM") \
	X(VM_NOT_READY, "vm_not_ready", "the VM is attached but its port is not open") \
	X(SNAT_NO_LEASE, "snat_no_lease", "to a port of the VIP that nobody has leased") \
	X(SNAT_NO_FLOW, "snat_no_flow", "to or from a leased port, but of no connection that is known") \
	X(SNAT_EXHAUSTED, "snat_exhausted", "no port is left towards this destination; the VM was told") \
	X(SNAT_HOLD_FULL, "snat_hold_full", "more packets waited for a range than are held: the oldest went") \
	X(SNAT_HOLD_TIMEOUT, "snat_hold_timeout", "a packet waited for a range that did not come in time") \
	X(SNAT_UNSUPPORTED, "snat_unsupported", "must be translated and cannot be: a fragment, or a protocol without ports") \
	X(CHAIN_LIMITED, "chain_limited", "more packets of unknown connections than are sent on to earlier owners") \
	X(CHAIN_LOOP, "chain_loop", "every owner was asked, and none knows the connection or can adopt it") \
	X(CHAIN_SKEW, "chain_skew", "nobody who was asked knows the connection, and they disagree on who owned it") \
	X(PIN_MALFORMED, "pin_malformed", "to the port of pins, but no message of pins of this cluster") \
	X(PIN_FORGED, "pin_forged", "pins from an address that is no host, or with a wrong tag") \
	X(PIN_REPLAYED, "pin_replayed", "pins that came before, or whose sender's clock is a minute off") \
	X(PROBE_NOT_LOCAL, "probe_not_local", "from the probe address, but not sent by the host to a VM that is here") \
	X(PROBE_NOT_ANSWER, "probe_not_answer", "a VM sent what answers no probe to the probe address") \
	X(PROBE_LIMITED, "probe_limited", "more packets of a VM to the probe address than probes bring") \
	X(ICMP_UNKNOWN, "icmp_unknown", "ICMP about no connection that is known") \
	X(TTL_EXPIRED, "ttl_expired", "the time to live ran out") \
	X(RATE_LIMITED, "rate_limited", "over the limit for answers of our own") \
	X(ENDPOINT_REFUSING, "endpoint_refusing", "to an endpoint that refuses: more than are told so, or in fragments") \
	X(OVER_MAX_PPS, "over_max_pps", "more packets for VIPs than max_pps lets through")
// clang-format on

enum drop_reason {
	DROP_NONE = 0,
#define X(id, name, text) DROP_##id,
	DROP_REASONS(X)
#undef X
		DROP_REASON_COUNT
};

// "runt"; "none" for DROP_NONE.
const char *drop_reason_name(enum drop_reason reason);

// One sentence for people.
const char *drop_reason_text(enum drop_reason reason);
