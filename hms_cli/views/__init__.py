"""What the API answers, as results to print. Pure: a document goes in, a result comes out."""
