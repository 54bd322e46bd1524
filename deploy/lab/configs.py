"""The configuration files of every program in a lab, as text. Pure: the files are written by lifecycle."""

import json

import topology

BIRD_COMMON = """\
log stderr all;
router id {address};
debug protocols {{ states }};
protocol device {{ scan time 10; }}
protocol bfd {{
  interface "{interface}" {{ min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }};
}}
"""

# The mux puts "VIP/32 dev vip0 proto 200" (201 while it drains) into table 100; BIRD learns that table and announces it.
MUX_BIRD = BIRD_COMMON + """\
ipv4 table vip4;
protocol kernel klearn4 {{
  learn; kernel table 100; scan time 5; netlink rx buffer 67108864;
  ipv4 {{ table vip4; import filter {{ if krt_source !~ [200, 201] then reject; accept; }}; export none; }};
}}
protocol pipe p4 {{ table vip4; peer table master4; import none; export all; }}
filter vip_out {{
  if source != RTS_INHERIT then reject;
  if krt_source = 201 then bgp_community.add((65535, 0));
  accept;
}}
"""

ROUTER_BIRD = BIRD_COMMON + """\
protocol kernel {{
  merge paths on limit 64; netlink rx buffer 67108864; scan time 10;
  ipv4 {{ import none; export where source = RTS_BGP; }};
}}
filter only_vips {{
  if net !~ [{vip_prefix}{{32,32}}] then reject;
  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
  accept;
}}
"""

BGP_PEER = """\
protocol bgp {peer} {{
  local {address} as {own_as}; neighbor {peer_address} as {peer_as}; direct;
  hold time 9; keepalive time 3; connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart off;
  bfd on; password "{password}"; ttl security on;
  ipv4 {{ {policy} }};
}}
"""

NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.own-pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  default_type application/octet-stream;
  sendfile on;
  server {{
    listen 8080 backlog=4096;
    location = / {{ default_type text/plain; return 200 "{name}\\n"; }}
    location = /whoami {{ default_type text/plain; return 200 "{name} $remote_addr:$remote_port\\n"; }}
    location = /big {{ alias {big_file}; }}
    location = /slow/big {{ alias {big_file}; limit_rate 8m; }}
  }}
}}
"""


def _bird(topo, node, common, interface, peers, own_as, peer_as, policy):
    text = common.format(address=node.address, interface=interface, vip_prefix=topology.VIP_PREFIX)
    for peer in peers:
        text += BGP_PEER.format(peer=peer.name, address=node.address, own_as=own_as, peer_address=peer.address, peer_as=peer_as,
                                password=topology.BGP_PASSWORD, policy=policy)
    return text


def mux_bird(topo, node):
    return _bird(topo, node, MUX_BIRD, "mux0", topo.of_kind("router"), topology.MUX_AS, topology.ROUTER_AS,
                 "import none; export filter vip_out; next hop self;")


def router_bird(topo, node):
    return _bird(topo, node, ROUTER_BIRD, "eth0", topo.of_kind("mux"), topology.ROUTER_AS, topology.MUX_AS,
                 "import filter only_vips; export none;")


def manager(topo, node, directory):
    return json.dumps({
        "id": node.number,
        "data_dir": f"{directory}/data",
        "cluster": [{"id": n.number, "api": f"{n.address}:7400", "raft": f"{n.address}:7401"} for n in topo.of_kind("mgr")],
    }, indent=2) + "\n"


def mux(topo, node, driver):
    return json.dumps({
        "name": node.name,
        "address": f"{node.address}/24",
        "uplink": {"interface": "eth0", "driver": driver},
        "tap": "mux0",
        "gateways": topo.gateways,
        "managers": topo.manager_endpoints,
        "routes": {"interface": "vip0", "table": 100},
        "mtu": topology.FABRIC_MTU,
        "workers": 1,
    }, indent=2) + "\n"


def agent(topo, node, driver, directory):
    return json.dumps({
        "name": node.name,
        "address": f"{node.address}/24",
        "uplink": {"interface": "eth0", "driver": driver},
        "tap": "host0",
        "gateways": topo.gateways,
        "managers": topo.manager_endpoints,
        "local_socket": f"{directory}/agent.sock",
        "state_dir": f"{directory}/state",
        "vm_driver": driver,
        "max_flows": 262144,
        "max_vms": topo.sizes.vms + 2,
        "mtu": topology.FABRIC_MTU,
        "mss": 1440,
        "proxy_arp": False,
    }, indent=2) + "\n"


def nginx(node, directory, big_file):
    return NGINX.format(name=node.name, directory=directory, big_file=big_file)
