/* SPDX-License-Identifier: MIT
 * What the proof's programs need of a machine: files of its host, a count of instructions, the stack in use, a
 * serial line. port_host.c has it for a computer, port_bare.c for emulated microcontrollers. */
#ifndef PORT_H
#define PORT_H

#include <stddef.h>
#include <stdint.h>

/* Opens a file in the working directory; < 0 if that fails. */
int port_open(const char *name, int for_writing);
/* Bytes read, fewer than n only at the end. */
size_t port_read(int file, void *data, size_t n);
void port_write(int file, const void *data, size_t n);

/* A counter of instructions, or of something that advances with them; differences are modulo port_tick_mask. */
uint32_t port_ticks(void);
extern const uint32_t port_tick_mask;
/* What that counter does in 40000 instructions. 0 where nothing is counted. */
uint32_t port_calibrate(void);

/* Most bytes of stack in use so far. 0 where it is not known. */
uint32_t port_stack_used(void);

/* The serial line: bytes now there, at most n; and sending, which waits. < 0 once it is closed. */
int port_serial_open(void);
int port_serial_read(uint8_t *data, size_t n);
void port_serial_write(const uint8_t *data, size_t n);

#endif
