/* SPDX-License-Identifier: MIT
 * Emulated microcontrollers: the host's files by semihosting, SysTick or minstret as the count of instructions
 * (right only under `qemu -icount`), the stack by the pattern the start painted it with, and the UART. */
#include "port.h"

extern uint32_t stack_bottom[], stack_top[]; /* of the linker script */
enum { PAINT = 0x5AA55AA5 };

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_FLEN = 0x0C, SYS_EXIT = 0x18 };

#if defined(__riscv)
static uintptr_t semihost(uintptr_t call, const void *arguments)
{
    register uintptr_t a0 __asm__("a0") = call;
    register const void *a1 __asm__("a1") = arguments;
    __asm__ volatile(
        ".option push\n .option norvc\n .balign 16\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop"
        : "+r"(a0)
        : "r"(a1)
        : "memory");
    return a0;
}

const uint32_t port_tick_mask = 0xFFFFFFFFu;

uint32_t port_ticks(void)
{
    uint32_t count;
    __asm__ volatile(".option push\n .option arch, +zicsr\n csrr %0, minstret\n .option pop" : "=r"(count));
    return count;
}

static void run_40000(void)
{
    uint32_t n = 20000;
    __asm__ volatile("1: addi %0, %0, -1\n bnez %0, 1b" : "+r"(n));
}

static volatile uint8_t *const uart = (volatile uint8_t *)0x10000000u; /* NS16550 of `virt` */

int port_serial_open(void)
{
    uart[2] = 1; /* FIFO on */
    return 0;
}

static int uart_has(void) { return uart[5] & 1; }
static int uart_full(void) { return !(uart[5] & 0x20); }
static uint8_t uart_get(void) { return uart[0]; }
static void uart_put(uint8_t byte) { uart[0] = byte; }
#else
static uintptr_t semihost(uintptr_t call, const void *arguments)
{
    register uintptr_t r0 __asm__("r0") = call;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

const uint32_t port_tick_mask = 0x00FFFFFFu;

static volatile uint32_t *const systick = (volatile uint32_t *)0xE000E010u;

uint32_t port_ticks(void)
{
    if (!(systick[0] & 1u)) {
        systick[1] = 0x00FFFFFFu;
        systick[2] = 0;
        systick[0] = 5; /* on, processor clock */
    }
    return 0x00FFFFFFu - systick[2];
}

static void run_40000(void)
{
    uint32_t n = 20000;
    __asm__ volatile(".syntax unified\n 1: subs %0, %0, #1\n bne 1b" : "+l"(n) : : "cc");
}

static volatile uint32_t *const uart = (volatile uint32_t *)0x40004000u; /* CMSDK UART0 of mps2 */

int port_serial_open(void)
{
    uart[4] = 16; /* baud divider: the least it takes */
    uart[2] = 3;  /* both directions on */
    return 0;
}

static int uart_has(void) { return (int)(uart[1] & 2u); }
static int uart_full(void) { return (int)(uart[1] & 1u); }
static uint8_t uart_get(void) { return (uint8_t)uart[0]; }
static void uart_put(uint8_t byte) { uart[0] = byte; }
#endif

uint32_t port_calibrate(void)
{
    const uint32_t before = port_ticks();
    run_40000();
    return (port_ticks() - before) & port_tick_mask;
}

int port_open(const char *name, int for_writing)
{
    uintptr_t arguments[3];
    size_t length = 0;
    while (name[length]) {
        ++length;
    }
    arguments[0] = (uintptr_t)name;
    arguments[1] = for_writing ? 5 : 1; /* "wb", "rb" */
    arguments[2] = length;
    return (int)semihost(SYS_OPEN, arguments);
}

size_t port_read(int file, void *data, size_t n)
{
    uintptr_t arguments[3];
    arguments[0] = (uintptr_t)file;
    arguments[1] = (uintptr_t)data;
    arguments[2] = n;
    return n - (size_t)semihost(SYS_READ, arguments);
}

void port_write(int file, const void *data, size_t n)
{
    uintptr_t arguments[3];
    arguments[0] = (uintptr_t)file;
    arguments[1] = (uintptr_t)data;
    arguments[2] = n;
    (void)semihost(SYS_WRITE, arguments);
}

uint32_t port_stack_used(void)
{
    const uint32_t *word = stack_bottom;
    while (word < stack_top && *word == (uint32_t)PAINT) {
        ++word;
    }
    return (uint32_t)((const char *)stack_top - (const char *)word);
}

int port_serial_read(uint8_t *data, size_t n)
{
    size_t done = 0;
    while (done < n && uart_has()) {
        data[done++] = uart_get();
    }
    return (int)done;
}

void port_serial_write(const uint8_t *data, size_t n)
{
    while (n--) {
        while (uart_full()) {
        }
        uart_put(*data++);
    }
}

int main(void);
extern uint32_t data_start[], data_end[], data_load[], bss_start[], bss_end[];

/* Where the machine starts: memory as C expects it, the stack painted, main, and the emulator's end. */
void start_c(void);
void start_c(void)
{
    uint32_t *to, *const here = (uint32_t *)__builtin_frame_address(0) - 16;
    const uint32_t *from = data_load;
    int failed;
    for (to = data_start; to < data_end;) {
        *to++ = *from++;
    }
    for (to = bss_start; to < bss_end;) {
        *to++ = 0;
    }
    for (to = stack_bottom; to < here;) {
        *to++ = (uint32_t)PAINT;
    }
    failed = main();
    /* "stopped by the application" is exit status 0; any other reason is 1 */
    semihost(SYS_EXIT, failed ? (const void *)0x20023 : (const void *)0x20026);
    for (;;) {
    }
}

#if defined(__riscv)
__asm__(
    ".section .start, \"ax\"\n .globl start\n start:\n .option push\n .option norelax\n"
    " la gp, __global_pointer$\n .option pop\n la sp, stack_top\n call start_c\n");
#else
__attribute__((section(".start"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))(uintptr_t)stack_top, start_c};
#endif
