"""The configuration files of every program in a lab, as text. Pure: the files are written by lifecycle."""

import json

import topology

# Of routers; a mux's BIRD is configured by the mux itself (ananta-mux --print-bird).
BIRD_COMMON = """\
log stderr all;
router id {address};
debug protocols {{ states }};
protocol device {{ scan time 10; }}
protocol bfd {{
  interface "{interface}" {{ min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }};
}}
"""

ROUTER_BIRD = """\
protocol kernel {{
  merge paths on limit 64; netlink rx buffer 67108864; scan time 10;
  ipv4 {{ import none; export where source = RTS_BGP; }};
}}
protocol kernel {{
  merge paths on limit 64; netlink rx buffer 67108864; scan time 10;
  ipv6 {{ import none; export where source = RTS_BGP; }};
}}
function pref_vip() {{
  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
  return true;
}}
filter only_vips {{
  if net !~ [{vip_prefix}{{32,32}}] then reject;
  if pref_vip() then accept;
}}
filter only_vips6 {{
  if net !~ [{vip6_prefix}{{128,128}}] then reject;
  if pref_vip() then accept;
}}
"""

BGP_PEER = """\
protocol bgp {peer} {{
  local {address} as {own_as}; neighbor {peer_address} as {peer_as}; direct;
  hold time 9; keepalive time 3; connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart off;
  bfd on; password "{password}"; ttl security on;
  ipv4 {{ import filter only_vips; export none; }};
  ipv6 {{ import filter only_vips6; export none; }};
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
    listen [::]:8080 ipv6only=on backlog=4096;
    location = / {{ default_type text/plain; return 200 "{name}\\n"; }}
    location = /whoami {{ default_type text/plain; return 200 "{name} $remote_addr:$remote_port\\n"; }}
    location = /big {{ alias {big_file}; }}
    location = /slow/big {{ alias {big_file}; limit_rate 8m; }}
  }}
}}
"""


def router_bird(topo, node):
    text = BIRD_COMMON.format(address=node.address, interface="eth0")
    text += ROUTER_BIRD.format(vip_prefix=topology.VIP_PREFIX, vip6_prefix=topology.VIP6_PREFIX)
    for mux in topo.of_kind("mux"):
        text += BGP_PEER.format(peer=mux.name, address=node.address, own_as=topology.ROUTER_AS, peer_address=mux.address,
                                peer_as=topology.MUX_AS, password=topology.BGP_PASSWORD)
    return text


def manager(topo, node, directory):
    return json.dumps({
        "id": node.number,
        "data_dir": f"{directory}/data",
        "cluster": [{"id": n.number, "api": f"{n.address}:7400", "raft": f"{n.address}:7401"} for n in topo.of_kind("mgr")],
    }, indent=2) + "\n"


def mux(topo, node, driver, directory):
    return json.dumps({
        "name": node.name,
        "address": f"{node.address}/24",
        "address6": f"{node.address6}/64",
        "uplink": {"interface": "eth0", "driver": driver},
        "tap": "mux0",
        "gateways": topo.gateways,
        "managers": topo.manager_endpoints,
        "routes": {"interface": "vip0", "table": 100},
        "bgp": {
            "as": topology.MUX_AS,
            "peers": [{"name": router.name, "address": router.address, "as": topology.ROUTER_AS, "password": topology.BGP_PASSWORD}
                      for router in topo.of_kind("router")],
            "file": f"{directory}/bird.conf",
            "control": f"{directory}/bird.ctl",
        },
        "state_dir": f"{directory}/state",
        "mtu": topology.FABRIC_MTU,
        "workers": 1,
    }, indent=2) + "\n"


def agent(topo, node, driver, directory):
    return json.dumps({
        "name": node.name,
        "address": f"{node.address}/24",
        "address6": f"{node.address6}/64",
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
