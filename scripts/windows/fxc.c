// Compiles shaders in HLSL by Microsoft's FXC, as wgpu does it for Direct3D 12, and says how long the processor took for each.
//   fxc.exe LIST   with a line for each: FILE ENTRY PROFILE, as in "kernels/17.hlsl relu cs_5_1"
//   x86_64-w64-mingw32-gcc -O1 -o fxc.exe fxc.c; d3dcompiler_47.dll lies beside it
// Prints "ok MILLISECONDS FILE" or "FAILED FILE" with what the compiler says. Exit codes: 0 all compile, 1 one does not, 69 no FXC.
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

// The first members of ID3DBlob (d3dcommon.h).
typedef struct Blob Blob;
struct Blob {
    struct {
        void *query, *add;
        ULONG(WINAPI *release)(Blob *);
        void *(WINAPI *data)(Blob *);
        SIZE_T(WINAPI *size)(Blob *);
    } *calls;
};

typedef HRESULT(WINAPI *Compile)(const void *text, SIZE_T size, const char *name, const void *defines, void *include,
                                 const char *entry, const char *profile, UINT flags, UINT effect_flags, Blob **code, Blob **messages);

static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        long length = ftell(file);
        rewind(file);
        text = length < 0 ? NULL : malloc((size_t)length + 1);
        *size = text ? fread(text, 1, (size_t)length, file) : 0;
    }
    if (file) fclose(file);
    return text;
}

// What the processor has done for this process: other programs do not count.
static long long milliseconds(void) {
    FILETIME made, ended, system, user;
    if (!GetProcessTimes(GetCurrentProcess(), &made, &ended, &system, &user)) return 0;
    ULARGE_INTEGER a = {.LowPart = system.dwLowDateTime, .HighPart = system.dwHighDateTime};
    ULARGE_INTEGER b = {.LowPart = user.dwLowDateTime, .HighPart = user.dwHighDateTime};
    return (long long)((a.QuadPart + b.QuadPart) / 10000);
}

int main(int count, char **arguments) {
    HMODULE library = LoadLibraryA("d3dcompiler_47.dll");
    Compile compile = library ? (Compile)(void *)GetProcAddress(library, "D3DCompile") : NULL;
    FILE *list = count == 2 ? fopen(arguments[1], "r") : NULL;
    char path[1024], entry[256], profile[16];
    long long start;
    int failed = 0;
    // Lines end as the script that reads them expects it.
    _setmode(_fileno(stdout), _O_BINARY);
    if (!compile || !list) {
        fprintf(stderr, "fxc: %s\n", compile ? "there is no such list" : "d3dcompiler_47.dll cannot be loaded");
        return 69;
    }
    while (fscanf(list, "%1023s %255s %15s", path, entry, profile) == 3) {
        Blob *code = NULL, *messages = NULL;
        size_t size = 0;
        char *text = read_file(path, &size);
        start = milliseconds();
        // The flags of wgpu: none but strictness.
        HRESULT result = text ? compile(text, size, path, NULL, NULL, entry, profile, 1 << 11, 0, &code, &messages) : E_FAIL;
        if (SUCCEEDED(result)) {
            printf("ok %lld %s\n", milliseconds() - start, path);
        } else {
            printf("FAILED %s\n%s\n", path, messages ? (char *)messages->calls->data(messages) : "it cannot be read");
            failed = 1;
        }
        fflush(stdout);
        if (code) code->calls->release(code);
        if (messages) messages->calls->release(messages);
        free(text);
    }
    fclose(list);
    return failed;
}
