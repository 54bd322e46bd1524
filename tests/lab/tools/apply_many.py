"""Applies a VIP again and again, each time another one, and prints how long each took, in ms.

usage: apply_many.py DOCUMENT TIMES
"""

import json
import subprocess
import sys
import time

document = json.loads(sys.argv[1])
took = []
for i in range(int(sys.argv[2])):
    document["drain_s"] = 60 + i
    text = json.dumps(document)
    begun = time.monotonic()
    subprocess.run(["anantactl", "vip", "apply", "-f", "-", "--wait=10"], input=text, text=True, check=True, stdout=subprocess.DEVNULL)
    took.append((time.monotonic() - begun) * 1000)
print(json.dumps({"ms": took}))
