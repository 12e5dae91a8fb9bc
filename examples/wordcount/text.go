package main

import "fmt"

// count is a word and how often it came.
type count struct {
	word  string
	times int64
}

func (c count) String() string { return fmt.Sprintf("%s %d", c.word, c.times) }

// text is what lines are made of.
var text = []string{
	"To be, or not to be, that is the question:",
	"Whether 'tis nobler in the mind to suffer",
	"The slings and arrows of outrageous fortune,",
	"Or to take arms against a sea of troubles",
	"And by opposing end them. To die, to sleep,",
	"No more; and by a sleep to say we end",
	"The heart-ache and the thousand natural shocks",
	"That flesh is heir to: 'tis a consummation",
	"Devoutly to be wish'd. To die, to sleep;",
	"To sleep, perchance to dream. Ay, there's the rub,",
}
