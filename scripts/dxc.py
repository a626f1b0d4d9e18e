#!/usr/bin/env python3
"""Compiles HLSL with Microsoft's DXC, as wgpu calls it; scripts/check_shaders.sh runs it.

    scripts/dxc.py LIBRARY TIMES FILE...

LIBRARY is libdxcompiler.so (or dxcompiler.dll). The first line of each file says what the compiler is told beside the text,
`// -T cs_6_0 -E relu`. Files with the same text are compiled once. TIMES gets a line for each distinct text: seconds of the
processor, file. Needs Python alone. Exit codes: 0 all compile, 1 some do not, 69 the library cannot be loaded.
"""

import ctypes
import multiprocessing
import os
import sys
import time
import uuid

COMPILER_CLASS = "73e22d93-e6ce-47f3-b5bf-f0664f39c1b0"
COMPILER3 = "228B4687-5A6A-4730-900C-9702B2203F54"
RESULT = "58346CDA-DDE7-4497-9461-6F87AF5E0659"
UTF8 = 65001

# Places in the tables of methods; every table begins with QueryInterface, AddRef and Release.
RELEASE = 2
COMPILE = 3  # IDxcCompiler3
GET_STATUS, GET_ERROR_BUFFER = 3, 5  # IDxcResult
GET_POINTER, GET_SIZE = 3, 4  # IDxcBlob


class Buffer(ctypes.Structure):
    _fields_ = [("pointer", ctypes.c_char_p), ("size", ctypes.c_size_t), ("encoding", ctypes.c_uint32)]


def guid(text):
    return ctypes.create_string_buffer(uuid.UUID(text).bytes_le, 16)


def method(thing, place, returns, *arguments):
    table = ctypes.cast(thing, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents
    return ctypes.CFUNCTYPE(returns, ctypes.c_void_p, *arguments)(table[place])


def load(library):
    """The compiler, one for each process."""
    global compiler
    create = ctypes.CDLL(library).DxcCreateInstance
    create.restype = ctypes.c_int32
    compiler = ctypes.c_void_p()
    status = create(guid(COMPILER_CLASS), guid(COMPILER3), ctypes.byref(compiler))
    if status != 0:
        raise OSError(f"{library} makes no compiler: {status & 0xFFFFFFFF:#x}")


def compile_file(path):
    """The path, seconds of the processor, and what the compiler says against the text."""
    text = open(path, "rb").read()
    told = text.split(b"\n", 1)[0].decode().removeprefix("// ").split()
    told += ["-HV", "2018", "-no-warnings", "-Ges"]
    if "cs_6_2" in told:
        told.append("-enable-16bit-types")
    arguments = (ctypes.c_wchar_p * len(told))(*told)
    source = Buffer(text, len(text), UTF8)
    result = ctypes.c_void_p()
    start = time.process_time()
    status = method(
        compiler, COMPILE, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_void_p,
    )(compiler, ctypes.byref(source), arguments, len(told), None, guid(RESULT), ctypes.byref(result))
    seconds = time.process_time() - start
    if status != 0:
        return path, seconds, f"the compiler gave up: {status & 0xFFFFFFFF:#x}"
    outcome, errors, said = ctypes.c_int32(), ctypes.c_void_p(), ""
    method(result, GET_STATUS, ctypes.c_int32, ctypes.c_void_p)(result, ctypes.byref(outcome))
    method(result, GET_ERROR_BUFFER, ctypes.c_int32, ctypes.c_void_p)(result, ctypes.byref(errors))
    if errors:
        size = method(errors, GET_SIZE, ctypes.c_size_t)(errors)
        pointer = method(errors, GET_POINTER, ctypes.c_void_p)(errors)
        said = ctypes.string_at(pointer, size).decode(errors="replace").strip("\0\n")
        method(errors, RELEASE, ctypes.c_uint32)(errors)
    method(result, RELEASE, ctypes.c_uint32)(result)
    # Older libraries sign nothing by themselves; that is no fault of the text.
    said = "\n".join(line for line in said.splitlines() if "signing library" not in line)
    # wgpu refuses a shader of which anything is said.
    return path, seconds, said or (f"failed: {outcome.value & 0xFFFFFFFF:#x}" if outcome.value != 0 else "")


def main():
    library, times, *paths = sys.argv[1:]
    distinct = {}
    for path in sorted(paths):
        distinct.setdefault(open(path, "rb").read(), path)
    try:
        load(library)
    except (OSError, AttributeError) as error:
        print(f"dxc: {error}", file=sys.stderr)
        return 69
    failed, total = 0, 0.0
    with multiprocessing.Pool(os.cpu_count(), load, [library]) as pool, open(times, "w") as out:
        for path, seconds, said in pool.imap_unordered(compile_file, distinct.values(), chunksize=8):
            total += seconds
            out.write(f"{seconds:.4f}\t{path}\n")
            if said:
                failed += 1
                print(f"{path}:\n{said}", file=sys.stderr)
    print(f"{len(distinct)} distinct texts of {len(paths)} files, {failed} refused, {total:.1f} s of the processor")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
