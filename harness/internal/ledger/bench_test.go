package ledger_test

import "testing"

// BenchmarkCheck is a window of 200,000 frames at six taps each: at most 3 s on one core.
func BenchmarkCheck(b *testing.B) {
	lab := rack()
	m := &mover{sim: newSim(1, lab)}
	m.batch("c0/eth0", epoch, 2000, 60_000, client(0), worker(0))
	m.batch("c2/eth0", epoch, 2000, 40_000, client(2), worker(1))
	m.batch("w0/eth0", epoch, 2000, 60_000, worker(0), client(0))
	m.batch("w1/eth0", epoch, 2000, 40_000, worker(1), client(2))
	m.run()
	b.ResetTimer()
	for b.Loop() {
		v := lab.Check(m.input())
		if err := v.Err(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(v.Frames), "frames")
	}
}
