"""The weights of a model in one buffer, and their gradients in another. What treats each value by
itself (clipping, an optimizer, an average) is then one operator, whatever the net."""

from torch import Tensor, nn

from clipgrid import InputError
from clipgrid.clipping import Flat


def check(model: nn.Module) -> None:
    """InputError where a model can't be trained, or not in one buffer."""
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.UninitializedParameter):
            raise InputError(f"its parameter {name} has no shape yet: give it one")
        if parameter.requires_grad and not parameter.is_floating_point():
            kind = str(parameter.dtype).removeprefix("torch.")
            raise InputError(f"its parameter {name} is of {kind}, and has to be of a floating type")
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
            raise InputError(f"the gradient of its layer {name} is sparse: leave sparse=True out")
    if not any(True for _ in model.parameters()):
        raise InputError("it has no parameters: there is nothing to train")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("none of its parameters can be trained")


class Weights:
    """What a model is made of, as views of `flat`: first the `parameters` that are trained, whose
    gradients have the same places in `gradients`, then those that aren't and the running statistics
    of batch norm. Of several types of numbers, each has a buffer. Tied weights count once.

    `optimized` is what an optimizer changes, each with its gradient: the parameters or, `at_once`,
    all of one type of numbers."""

    def __init__(self, model: nn.Module, at_once: bool) -> None:
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        named = {n: t for n, t in model.state_dict(keep_vars=True).items() if t.is_floating_point()}
        tensors = {id(tensor): tensor for tensor in (*self.parameters, *named.values())}
        self.flat, self.gradients = Flat(tensors.values()), Flat(self.parameters)
        self.flat.fill(tensor.detach() for tensor in tensors.values())
        for tensor, own in zip(tensors.values(), self.flat, strict=True):
            tensor.data = own
        places = {tensor: place for place, tensor in enumerate(tensors)}
        self.places = {name: places[id(tensor)] for name, tensor in named.items()}
        pairs = [*zip(self.flat, self.gradients, strict=False)]
        if at_once:
            buffers = zip(
                self.flat.buffers, self.gradients.buffers, self.gradients.ends, strict=False
            )
            pairs = [(w[:end], g[:end]) for w, g, end in buffers]  # what lies beyond isn't trained
        self.optimized = [nn.Parameter(weight) for weight, _ in pairs]
        self.pairs = pairs

    def named(self, flat: Flat) -> dict[str, Tensor]:
        """The tensors of a buffer like `flat`, by the names that the model's state has for them."""
        return {name: flat[place] for name, place in self.places.items()}

    def gather(self) -> None:
        """Bring the parameters' gradients into their buffer. That of one that took no part is 0."""
        self.gradients.fill(parameter.grad for parameter in self.parameters)
        for parameter in self.parameters:
            parameter.grad = None
        for optimized, (_, gradient) in zip(self.optimized, self.pairs, strict=True):
            optimized.grad = gradient  # an optimizer may have put another in its place

    def check(self) -> None:
        """InputError where the model is by now made of others than the tensors that are trained."""
        now = self.model.state_dict(keep_vars=True)
        for name, place in self.places.items():
            if name not in now or now[name].data_ptr() != self.flat[place].data_ptr():
                moved = f"its forward pass puts another tensor in the place of {name}"
                raise InputError(f"{moved}; change it in place")
        trained = {id(parameter) for parameter in self.parameters}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad != (id(parameter) in trained):
                raise InputError(f"{name} is frozen or unfrozen on the way, which isn't supported")
        for optimized, (weight, _) in zip(self.optimized, self.pairs, strict=True):
            if optimized.data_ptr() != weight.data_ptr():
                raise InputError("its optimizer puts other tensors in the place of the weights")
