package adminui

import "carillon/tenant/message/template"

// textChoice is the messages that a code can go out with. With one there is nothing to
// choose, and it is only shown.
type textChoice struct {
	ID      string
	Choices []textSample
}

// textSample is a message as a phone would show it.
type textSample struct {
	// Value names it in a form: language/label.
	Value    string
	Name     string
	Language string
	Text     string
	Cost     string
	Chosen   bool
}

func (s *Server) textChoice(samples []template.Sample, chosen string) textChoice {
	c := textChoice{ID: fieldMessage}
	for i, sample := range samples {
		t := textSample{
			Value: sample.Language + "/" + sample.Label, Language: sample.Language, Text: sample.Text,
			Name: s.words.language(sample.Language),
			Cost: s.words.counted("issue.text.cost.one", "issue.text.cost.other", sample.Size.Segments),
		}
		if sample.Label != template.MainLabel {
			t.Name = s.words.text("issue.text.labelled", "language", t.Name, "label", sample.Label)
		}
		t.Chosen = t.Value == chosen || chosen == "" && i == 0
		c.Choices = append(c.Choices, t)
	}
	return c
}
