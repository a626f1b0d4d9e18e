// What a kernel includes beside metal_stdlib; it uses nothing of it.
#pragma once
