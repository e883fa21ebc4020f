//go:build !amd64

package main

func archCalls(uintptr) {}
