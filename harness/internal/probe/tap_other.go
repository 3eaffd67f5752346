//go:build !linux

package probe

import (
	"context"
	"errors"
	"io"
	"iter"
)

var errNoTap = errors.New("tapping an interface: only Linux can")

// Tap records what one interface carries; see the Linux version.
type Tap struct{}

// OpenTap fails: taps need Linux.
func OpenTap(TapPoint, TapOptions) (*Tap, error) { return nil, errNoTap }

// Watch fails.
func (t *Tap) Watch([]uint16) error { return errNoTap }

// Point is the zero point.
func (t *Tap) Point() TapPoint { return TapPoint{} }

// Total is 0.
func (t *Tap) Total() uint64 { return 0 }

// Stop fails.
func (t *Tap) Stop(context.Context) (TapReport, error) { return TapReport{}, errNoTap }

// Mark fails.
func (t *Tap) Mark(context.Context) (TapReport, error) { return TapReport{}, errNoTap }

// Late are none.
func (t *Tap) Late() iter.Seq[Sighting] { return newRecorder(-1).late() }

// Sightings are none.
func (t *Tap) Sightings() iter.Seq[Sighting] { return newRecorder(-1).sightings() }

// WriteSightings fails.
func (t *Tap) WriteSightings(io.Writer) error { return errNoTap }

// WriteCapture fails.
func (t *Tap) WriteCapture(io.Writer) error { return errNoTap }

// Close does nothing.
func (t *Tap) Close() error { return nil }
