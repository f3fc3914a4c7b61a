"""Makes the report of the host compatibility layer: hcl.py AK_DER VCEK_PEM OUT.

The layout is that of probe/src/cpu/hcl.rs and probe/src/cpu/snp.rs, written here anew so that neither is its own witness.
"""

import base64
import hashlib
import json
import struct
import subprocess
import sys


def tlv(data, at):
    """Content and end of a DER element."""
    length, at = data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, at = int.from_bytes(data[at : at + count], "big"), at + count
    return data[at : at + length], at + length


def rsa_numbers(spki):
    """Modulus and exponent of a public key in DER (SubjectPublicKeyInfo)."""
    inner, _ = tlv(spki, 0)
    _, after_algorithm = tlv(inner, 0)
    bits, _ = tlv(inner, after_algorithm)
    numbers, _ = tlv(bits, 1)
    modulus, after = tlv(numbers, 0)
    exponent, _ = tlv(numbers, after)
    return modulus.lstrip(b"\0"), exponent


def base64url(number):
    return base64.urlsafe_b64encode(number).rstrip(b"=").decode()


def cpu_report(claims, key):
    report = bytearray(1184)
    struct.pack_into("<I", report, 0x000, 2)
    struct.pack_into("<Q", report, 0x008, 0x3001F)
    struct.pack_into("<I", report, 0x034, 1)
    report[0x050:0x070] = hashlib.sha256(claims).digest()
    report[0x090:0x0C0] = bytes(range(48))
    report[0x180:0x188] = bytes([3, 0, 0, 0, 0, 0, 8, 128])
    report[0x1A0:0x1E0] = b"\xc1" * 64
    signed = subprocess.run(
        ["openssl", "dgst", "-sha384", "-sign", key], input=bytes(report[:0x2A0]), capture_output=True, check=True
    )
    pair, _ = tlv(signed.stdout, 0)
    r, after = tlv(pair, 0)
    s, _ = tlv(pair, after)
    for at, number in ((0x2A0, r), (0x2E8, s)):
        report[at : at + 72] = int.from_bytes(number, "big").to_bytes(72, "little")
    return bytes(report)


def main(ak, key, out):
    with open(ak, "rb") as file:
        modulus, exponent = rsa_numbers(file.read())
    jwk = {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": base64url(exponent), "n": base64url(modulus)}
    claims = json.dumps({"keys": [jwk], "vm-configuration": {"secure-boot": True, "tpm-enabled": True}}).encode()
    header = b"HCLA" + struct.pack("<IIII", 2, 1184, 2, 0) + bytes(12)
    data = struct.pack("<IIIII", 20 + len(claims), 1, 2, 1, len(claims))
    with open(out, "wb") as file:
        file.write(header + cpu_report(claims, key) + data + claims)


main(*sys.argv[1:])
