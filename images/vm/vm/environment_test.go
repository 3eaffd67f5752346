package main

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestTheCommandGetsAChosenEnvironment(t *testing.T) {
	g := NewWithT(t)
	host := []string{"PATH=/bin", "HOME=/root", "SECRET=x", "GOFLAGS=-v", "VLANDEMUX_SWITCH=tc", "LANG=C"}
	g.Expect(environment(host, nil)).To(ConsistOf("PATH=/bin", "HOME=/root", "VLANDEMUX_SWITCH=tc"))
	g.Expect(environment(host, []string{"LANG", "ABSENT", "NEW=a=b"})).To(ConsistOf("PATH=/bin", "HOME=/root", "VLANDEMUX_SWITCH=tc", "LANG=C", "NEW=a=b"))
	g.Expect(environment(host, []string{"VLANDEMUX_SWITCH=8021q"})).To(ConsistOf("PATH=/bin", "HOME=/root", "VLANDEMUX_SWITCH=8021q"), "no variable twice")
}
