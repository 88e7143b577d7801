// Command pause holds a Pod's namespaces open: it waits for a signal to end and collects orphaned children. Besides, it
// answers `pause TEXT` by printing TEXT before it waits, and `pause --version` by ending, so that logs and exec of a
// fresh cluster can be tried with no other image.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	words := os.Args[1:]
	if len(words) == 1 && words[0] == "--version" {
		fmt.Println("beeline pause 1")
		return
	}
	if len(words) > 0 {
		fmt.Println(strings.Join(words, " "))
	}

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err != nil || child <= 0 {
				break
			}
		}
	}
}
