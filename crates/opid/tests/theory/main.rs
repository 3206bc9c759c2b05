//! What the method claims, checked where everything can be counted: all sequences of a tiny vocabulary, and
//! steps whose criticality is known.

mod gradient;
mod routing;
