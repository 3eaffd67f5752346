package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// terminal is what a terminal of 201 columns shows: the characters and the sequences that a screen writes.
type terminal struct {
	lines       [][]rune
	row, column int
}

func (t *terminal) Write(data []byte) (int, error) {
	text := []rune(string(data))
	for i := 0; i < len(text); i++ {
		for len(t.lines) <= t.row {
			t.lines = append(t.lines, nil)
		}
		switch text[i] {
		case '\n':
			t.row, t.column = t.row+1, 0
		case '\r':
			t.column = 0
		case '\033':
			number := 0
			for i += 2; text[i] >= '0' && text[i] <= '9' || text[i] == ';'; i++ {
				number = 10*number + int(text[i]-'0')
			}
			switch text[i] {
			case 'A':
				t.row -= max(1, number)
			case 'C':
				t.column += max(1, number)
			case 'K':
				t.lines[t.row] = t.lines[t.row][:min(t.column, len(t.lines[t.row]))]
			}
		default:
			if t.column == 201 {
				t.row, t.column = t.row+1, 0
				t.lines = append(t.lines, nil)
			}
			for len(t.lines[t.row]) <= t.column {
				t.lines[t.row] = append(t.lines[t.row], ' ')
			}
			t.lines[t.row][t.column] = text[i]
			t.column++
		}
	}
	return len(data), nil
}

func (t *terminal) String() string {
	var all []string
	for _, l := range t.lines {
		all = append(all, string(l))
	}
	return strings.TrimRight(strings.Join(all, "\n"), "\n")
}

func TestOneLineBelowGinkgosOutput(t *testing.T) {
	g := NewWithT(t)
	shown := &terminal{}
	s := &screen{out: shown, terminal: true}
	s.print([]byte("Running Suite\n••"))
	s.status("2 of 9 specs, and what runs has a long name")
	g.Expect(shown.String()).To(Equal("Running Suite\n••\n2 of 9 specs, and what runs has a long name"))
	s.status("3 of 9 specs")
	s.print([]byte("•"))
	s.status("4 of 9 specs")
	s.print([]byte("\n----\nfailed\n"))
	s.status("5 of 9 specs")
	s.print([]byte("•"))
	g.Expect(shown.String()).To(Equal("Running Suite\n•••\n----\nfailed\n•"), "and nothing is left of ours")
}

func TestColoursTakeNoRoomAndRowsEnd(t *testing.T) {
	g := NewWithT(t)
	shown := &terminal{}
	s := &screen{out: shown, terminal: true}
	s.print([]byte("\033[38;5;10m•\033[0m\033[38;5;10m•\033[0m"))
	s.status("2 of 9 specs")
	s.print([]byte("•"))
	g.Expect(shown.String()).To(Equal("•••"))
	row := strings.Repeat("S", 198)
	s.print([]byte(row))
	s.status("3 of 9 specs")
	g.Expect(shown.String()).To(Equal("•••" + row + "\n\n3 of 9 specs"))
	s.print([]byte("•"))
	g.Expect(shown.String()).To(Equal("•••" + row + "\n•"))

	pieces := &screen{out: &bytes.Buffer{}}
	for _, piece := range []string{"•\xe2\x80", "\xa2\033[38;", "5;10m•"} {
		pieces.print([]byte(piece))
	}
	g.Expect(pieces.column()).To(Equal(3), "wherever they are cut")
}

func TestALineOfItsOwnWhereThereIsNoTerminal(t *testing.T) {
	g := NewWithT(t)
	out := &bytes.Buffer{}
	s := &screen{out: out}
	s.print([]byte("••"))
	s.status("2 of 9 specs")
	s.status("2 of 9 specs")
	s.print([]byte("•"))
	s.status("3 of 9 specs")
	g.Expect(out.String()).To(Equal("••\n2 of 9 specs\n2 of 9 specs\n•\n3 of 9 specs\n"))
}

func TestWhatASuiteSaysOfItself(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	s := newSuite(now.Add(-7 * time.Second))
	s.read(strings.NewReader(""))
	g.Expect(s.line(now, 200)).To(Equal("preparing for 7s"))
	s.read(strings.NewReader("run\t4\t2\nlast\t10\ta\nlast\t20\tb\nlast\t30\tc\nprepare\ta lab is tried out\n"))
	g.Expect(s.line(now, 200)).To(Equal("preparing for 7s: a lab is tried out"), "not how much is left: no spec has begun")
	s.read(strings.NewReader("run\t4\t2\nlast\t10\ta\nlast\t20\tb\nlast\t30\tc\nprepared\nsta"))
	g.Expect(s.line(now, 200)).To(Equal("0 of 4 specs, about 40s left"), "the one that is not known takes 20 s as well; two run at once")
	s.read(strings.NewReader("rt\ta\nstart\tb\n"))
	g.Expect(s.running).To(And(HaveKey("a"), HaveKey("b")))
	s.running["a"], s.running["b"] = now.Add(-4*time.Second), now.Add(-100*time.Second)
	g.Expect(s.line(now, 200)).To(Equal("0 of 4 specs, about 28s left · b (100 s) · a (4 s)"), "b takes longer than the last time, and no time is given back")
	g.Expect([]rune(s.line(now, 40))).To(HaveLen(40))
	s.read(strings.NewReader("end\tfailed\ta\nend\tpassed\tb\nnonsense\n\tx\nlast\tten\tx\n"))
	g.Expect(s.line(now, 200)).To(Equal("2 of 4 specs, 1 failed, about 30s left"))
	s.running["c"], s.running["d"] = now.Add(-39*time.Second), now.Add(-40*time.Second)
	g.Expect(s.line(now, 200)).To(Equal("2 of 4 specs, 1 failed · d (40 s) · c (39 s)"), "nobody knows how much is left")
	clear(s.running)
	g.Expect(s.ended()).To(BeFalse())
	s.read(strings.NewReader("kept\t15:04:05\tc\n"))
	g.Expect(s.line(now, 200)).To(Equal("2 of 4 specs, 1 failed, waiting until 15:04:05, the lab is kept up: c"))
	s.read(strings.NewReader("kept no more\nend\tpassed\tc\nend\tpassed\td\n"))
	g.Expect(s.ended()).To(BeTrue())
}

func TestTheCommandsStatusAndOutputAreTheProgramsOwn(t *testing.T) {
	g := NewWithT(t)
	out, err := os.CreateTemp(t.TempDir(), "")
	g.Expect(err).NotTo(HaveOccurred())
	status, err := run([]string{"sh", "-c", "echo to stdout; exit 7"}, out)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(status).To(Equal(7))
	g.Expect(os.ReadFile(out.Name())).To(BeEquivalentTo("to stdout\n"))
	status, err = run([]string{"/no/such/program"}, out)
	g.Expect(err).To(MatchError(ContainSubstring("starting the suite: ")))
	g.Expect(status).To(Equal(1))
	_, err = run(nil, out)
	g.Expect(err).To(HaveOccurred())
}

func TestLinesComeWhileTheCommandIsSilent(t *testing.T) {
	g := NewWithT(t)
	events, err := os.CreateTemp(t.TempDir(), "")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = events.WriteString("run\t3\t1\nstart\tthe first\n")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = events.Seek(0, 0)
	g.Expect(err).NotTo(HaveOccurred())
	read, write, err := os.Pipe()
	g.Expect(err).NotTo(HaveOccurred())
	out := make(lines, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		show(&screen{out: out, every: time.Millisecond}, read, events, func(os.Signal) {}, nil)
	}()
	g.Eventually(out).WithTimeout(time.Minute).Should(Receive(HavePrefix("0 of 3 specs · the first (")))
	g.Expect(write.Close()).To(Succeed())
	g.Eventually(done).WithTimeout(time.Minute).Should(BeClosed())
}

// lines is what was written, piece by piece.
type lines chan string

func (l lines) Write(data []byte) (int, error) {
	select {
	case l <- string(data):
	default:
	}
	return len(data), nil
}
