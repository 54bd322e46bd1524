"""The names of counters that tests look at: the only place where they stand."""

MUX_RECEIVED = "rx_packets"
MUX_SENT = "tx_packets"
MUX_FORWARDED = "forwarded_packets"

AGENT_INBOUND = "inbound_packets"
AGENT_OUTBOUND = "outbound_packets"
AGENT_DROP_ENCAP_SOURCE = "drop_encap_source"
AGENT_DROP_SPOOFED_SOURCE = "drop_spoofed_source"
AGENT_DROP_SPOOFED_MAC = "drop_spoofed_mac"
AGENT_DROP_VM_ENCAP = "drop_vm_encap"
AGENT_DROP_SNAT_EXHAUSTED = "drop_snat_exhausted"
