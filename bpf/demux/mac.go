package demux

import (
	"bytes"
	"encoding/hex"
	"math/bits"
	"net"
	"slices"
)

// MAC is a hardware address as the maps key it.
type MAC [6]byte

// ParseMAC reads six octets in any form [net.ParseMAC] takes. The error is
// [ErrBadMAC]. Whether the address can be assigned is for [MAC.Validate].
func ParseMAC(s string) (MAC, error) {
	if m, ok := parseColons(s); ok {
		return m, nil
	}
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != len(MAC{}) {
		return MAC{}, badMAC(s, "six octets such as 02:00:00:00:00:01 are expected")
	}
	return MAC(hw), nil
}

// parseColons reads the common form without allocating: there may be a million of them.
func parseColons(s string) (m MAC, ok bool) {
	if len(s) != 17 {
		return m, false
	}
	for i := range m {
		if _, err := hex.Decode(m[i:i+1], []byte(s[3*i:3*i+2])); err != nil || i > 0 && s[3*i-1] != ':' {
			return m, false
		}
	}
	return m, true
}

// Compare orders addresses by their octets.
func (m MAC) Compare(other MAC) int { return bytes.Compare(m[:], other[:]) }

// ordered is the address as a number, in the order of Compare.
func (m MAC) ordered() uint64 { return bits.ReverseBytes64(m.word()) }

// sortByMAC sorts a list by radix, an octet at a time; elements with one MAC stay in their order. What is sorted are pairs of
// MAC and place: an element, which is several times as long, moves once.
func sortByMAC[E any](list []E, mac func(*E) MAC) {
	if slices.IsSortedFunc(list, func(a, b E) int { return mac(&a).Compare(mac(&b)) }) {
		return
	}
	type pair struct {
		mac  MAC
		from int32
	}
	pairs, next := make([]pair, len(list)), make([]pair, len(list))
	for i := range list {
		pairs[i] = pair{mac(&list[i]), int32(i)}
	}
	for octet := len(MAC{}) - 1; octet >= 0; octet-- {
		var ends [256]int // of those with each value of the octet
		for i := range pairs {
			ends[pairs[i].mac[octet]]++
		}
		if ends[pairs[0].mac[octet]] == len(pairs) { // all have the same, as in the vendor's part
			continue
		}
		for value := 1; value < len(ends); value++ {
			ends[value] += ends[value-1]
		}
		for i := len(pairs) - 1; i >= 0; i-- {
			value := pairs[i].mac[octet]
			ends[value]--
			next[ends[value]] = pairs[i]
		}
		pairs, next = next, pairs
	}
	sorted := make([]E, len(list))
	for to := range sorted {
		sorted[to] = list[pairs[to].from]
	}
	copy(list, sorted)
}

// Validate returns [ErrBadMAC] unless m is the address of one station:
// not zero, and without the group bit.
func (m MAC) Validate() error {
	switch {
	case m == MAC{}:
		return badMAC(m.String(), "it is zero")
	case m[0]&1 != 0:
		return badMAC(m.String(), "it is a group address, no station sends from it")
	}
	return nil
}

// String returns the lower-case colon form.
func (m MAC) String() string {
	return net.HardwareAddr(m[:]).String()
}

const hexDigits = "0123456789abcdef"

// MarshalText implements [encoding.TextMarshaler] with the form of String.
func (m MAC) MarshalText() ([]byte, error) {
	return m.AppendText(nil)
}

// AppendText implements [encoding.TextAppender] with the form of String.
func (m MAC) AppendText(b []byte) ([]byte, error) {
	for i, octet := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hexDigits[octet>>4], hexDigits[octet&15])
	}
	return b, nil
}

// UnmarshalText implements [encoding.TextUnmarshaler] by ParseMAC.
func (m *MAC) UnmarshalText(text []byte) error {
	parsed, err := ParseMAC(string(text))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}
